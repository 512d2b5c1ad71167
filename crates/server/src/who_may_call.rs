//! Whether callers need credentials: what the options say, and where they must say it.

use std::net::SocketAddr;
use std::path::Path;

use server::{Access, Identities};

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    /// It holds.
    On,
    /// It does not.
    Off,
}

/// Who may call at `listen`. An address that others can reach asks for a decision.
pub(crate) fn decide(auth: Option<Switch>, listen: SocketAddr) -> Result<Switch, String> {
    match auth {
        Some(decided) => Ok(decided),
        None if listen.ip().is_loopback() => Ok(Switch::Off),
        None => Err(format!(
            "{listen} is not a loopback address: say --auth on (`headwater-server token` makes the first token), or --auth \
             off where something else keeps strangers away"
        )),
    }
}

/// Whom client certificates stand for: the list in the file, where one is named. What is wrong is told without the
/// place, because a caller who asks for a reload may read it.
pub(crate) fn identities(file: Option<&Path>) -> Result<Identities, String> {
    let Some(path) = file else { return Ok(Identities::default()) };
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("the file of --identities cannot be read: {error}"))?;
    Identities::parse(&text).map_err(|error| format!("the file of --identities, {error}"))
}

/// What a decision means.
pub(crate) fn access(decided: Switch, catalogue: &str, identities: Identities) -> Result<Access, String> {
    if decided == Switch::Off {
        return Ok(Access::Open);
    }
    let catalogue = Some(catalogue).filter(|name| !name.is_empty()).map(str::parse).transpose();
    let catalogue = catalogue.map_err(|error: engine::NameError| format!("catalogue_tenant: {error}"))?;
    Ok(Access::Credentials { catalogue, identities })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_needs_a_decision() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            assert_eq!(decide(None, listen.parse().unwrap()), Ok(Switch::Off), "{listen}");
        }
        for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let listen = listen.parse().unwrap();
            assert!(decide(None, listen).unwrap_err().contains("--auth off"), "{listen}");
            for decided in [Switch::On, Switch::Off] {
                assert_eq!(decide(Some(decided), listen), Ok(decided), "{listen}");
            }
        }
    }

    #[test]
    fn a_catalogue_is_named_or_left_away_and_a_list_must_be_there() {
        let catalogue = |name: &str| match access(Switch::On, name, Identities::default()) {
            Ok(Access::Credentials { catalogue, .. }) => Ok(catalogue.map(|name| name.to_string())),
            Ok(Access::Open) => panic!("it is off"),
            Err(error) => Err(error),
        };
        assert_eq!(catalogue("default"), Ok(Some("default".to_owned())));
        assert_eq!(catalogue(""), Ok(None));
        assert!(catalogue("../x").unwrap_err().starts_with("catalogue_tenant: "));
        let absent = identities(Some(Path::new("/nonexistent"))).unwrap_err();
        assert!(absent.starts_with("the file of --identities cannot be read: "), "{absent}");
        assert!(!absent.contains("/nonexistent"), "{absent}");
    }
}
