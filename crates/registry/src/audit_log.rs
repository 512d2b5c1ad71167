//! Who changed what: one entry for each change, kept with it in the same transaction.
//!
//! ```text
//! entry   time u64 | author's tenant, actor, method; subject's tenant, subject: length u32, text each
//!         | fields left out u32 | n u32, n times: name, before, after: length u32, text each
//! ```

use engine::TenantName;

use crate::fields::{FieldReader, FieldWriter};

/// Changes the audit log keeps; older ones go as new ones come.
pub const AUDIT_ENTRIES: usize = 10_000;
/// The longest text shown of a name, a description or a value.
pub const MAX_SHOWN_BYTES: usize = 256;
/// Fields of an entry take no more than this, so that its record stays within what the store takes safely.
const MAX_FIELDS_BYTES: usize = 2_048;
/// Stands before and after where nothing was or is.
const NOTHING: &str = "";

/// Who makes a change, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The caller's tenant.
    pub tenant: TenantName,
    /// `token:` and the token's id, `certificate:` and its name, `nobody` where nobody has to say who they are, `signal`
    /// for whoever may send the process one, `server` for what the server does by itself.
    pub actor: String,
    /// The method called, the command run, or the signal.
    pub method: String,
}

/// One change, and who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The generation the change made.
    pub generation: u64,
    /// When, by the clock of the machine; orders nothing.
    pub unix_seconds: u64,
    /// Who.
    pub author: Author,
    /// Whose things changed.
    pub tenant: TenantName,
    /// What changed, such as `task glue/sst2`.
    pub subject: String,
    /// What about it, as far as there is room.
    pub fields: Vec<AuditField>,
    /// Changed fields that there was no room for.
    pub omitted: u32,
}

/// One thing that a change has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditField {
    /// What it is, such as `alias live`.
    pub name: String,
    /// What it was; empty where there was nothing.
    pub before: String,
    /// What it is; empty where there is nothing.
    pub after: String,
}

impl Author {
    /// The server itself.
    #[must_use]
    pub fn server(method: &str) -> Self {
        Self { tenant: TenantName::default_tenant(), actor: "server".to_owned(), method: shown(method) }
    }

    /// Whoever has sent the process this signal.
    #[must_use]
    pub fn signal(name: &str) -> Self {
        Self { tenant: TenantName::default_tenant(), actor: "signal".to_owned(), method: shown(name) }
    }

    /// Whether it is the server itself.
    pub(crate) fn is_server(&self) -> bool {
        self.actor == "server"
    }
}

impl AuditField {
    /// The field, if it differs; what is long or would break a line is shown as [`shown`] does.
    #[must_use]
    pub fn of(name: impl Into<String>, before: Option<String>, after: Option<String>) -> Option<Self> {
        if before == after {
            return None;
        }
        let text = |value: Option<String>| value.map_or_else(|| NOTHING.to_owned(), |value| shown(&value));
        Some(Self { name: shown(&name.into()), before: text(before), after: text(after) })
    }

    fn bytes(&self) -> usize {
        self.name.len() + self.before.len() + self.after.len() + 3 * size_of::<u32>()
    }
}

/// Text of somebody's as a log may show it: what would break a line or move a cursor is spelled out, and what is long is
/// cut.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        let mut plain = [0; 4];
        let spelled;
        let piece: &str = if character.is_control() || is_invisible(character) {
            spelled = character.escape_unicode().to_string();
            &spelled
        } else {
            character.encode_utf8(&mut plain)
        };
        if shown.len() + piece.len() > MAX_SHOWN_BYTES {
            break;
        }
        shown.push_str(piece);
    }
    shown
}

/// Characters that turn the direction of text, join or hide what stands beside them.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl AuditEntry {
    /// As many of `fields` as there is room for.
    pub(crate) fn keep(&mut self, fields: impl IntoIterator<Item = AuditField>) {
        let mut used: usize = self.fields.iter().map(AuditField::bytes).sum();
        for field in fields {
            used += field.bytes();
            if used > MAX_FIELDS_BYTES {
                self.omitted += 1;
            } else {
                self.fields.push(field);
            }
        }
    }

    pub(crate) fn write(&self, payload: &mut FieldWriter) {
        payload.u64(self.unix_seconds);
        let Author { tenant, actor, method } = &self.author;
        let texts = [tenant.as_str(), actor, method, self.tenant.as_str(), &self.subject];
        texts.iter().for_each(|text| payload.bytes(text.as_bytes()));
        payload.u32(self.omitted);
        payload.u32(self.fields.len() as u32);
        for AuditField { name, before, after } in &self.fields {
            [name, before, after].iter().for_each(|text| payload.bytes(text.as_bytes()));
        }
    }

    pub(crate) fn read(payload: &mut FieldReader<'_>, generation: u64) -> Option<Self> {
        let unix_seconds = payload.u64()?;
        let mut text = || payload.text().map(str::to_owned);
        let author = Author { tenant: text()?.parse().ok()?, actor: text()?, method: text()? };
        let (tenant, subject) = (text()?.parse().ok()?, text()?);
        let omitted = payload.u32()?;
        let count = payload.u32()?;
        let mut fields = Vec::new();
        for _ in 0..count {
            let mut text = || payload.text().map(str::to_owned);
            fields.push(AuditField { name: text()?, before: text()?, after: text()? });
        }
        Some(Self { generation, unix_seconds, author, tenant, subject, fields, omitted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Record, audit_key};

    fn entry() -> AuditEntry {
        let author =
            Author { actor: shown(&"\u{1b}".repeat(300)), method: shown(&"m".repeat(300)), ..Author::server("x") };
        let tenant: TenantName = "t".repeat(64).parse().unwrap();
        let subject = shown(&"s".repeat(300));
        AuditEntry { generation: 4, unix_seconds: 5, author, tenant, subject, fields: Vec::new(), omitted: 0 }
    }

    #[test]
    fn what_is_shown_breaks_no_line_and_is_cut() {
        assert_eq!(shown("a\nb\u{1b}[31m\u{202e}c"), "a\\u{a}b\\u{1b}[31m\\u{202e}c");
        assert_eq!(shown(&"ü".repeat(300)).len(), MAX_SHOWN_BYTES);
        assert!(shown(&"\0".repeat(300)).len() <= MAX_SHOWN_BYTES);
    }

    #[test]
    fn an_entry_of_any_length_fits_and_reads_back() {
        let mut entry = entry();
        let field = || AuditField::of("n".repeat(300), Some("b".repeat(300)), Some("a".repeat(300))).unwrap();
        entry.keep(std::iter::repeat_with(field).take(40));
        assert_eq!((entry.fields.len(), entry.omitted), (2, 38));
        let record = Record::Audit(entry);
        let key = audit_key(4);
        assert_eq!(Record::decode(&key, &record.encode(&key, 4).unwrap()), Some((record, 4)));
    }

    #[test]
    fn what_did_not_change_is_no_field() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(AuditField::of("a", some("1"), some("1")), None);
        let field = AuditField::of("a", None, some("1")).unwrap();
        assert_eq!((field.before.as_str(), field.after.as_str()), ("", "1"));
    }
}
