//! Heads that are served no longer: the writer holds them until nobody else does, so that their memory is freed on its
//! thread and not on one that answers calls.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use engine::{Head, LiveTask};
use registry::Author;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::changes::{Changes, Writer};

/// Between two looks at heads that calls still hold.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The writer's hold on them.
#[derive(Debug, Default)]
pub(crate) struct RetiredHeads {
    heads: Vec<Arc<Head>>,
    /// How many are left; whoever looks again holds the other end.
    left: watch::Sender<usize>,
}

impl RetiredHeads {
    pub(crate) fn take(&mut self, heads: Vec<Arc<Head>>) {
        self.heads.extend(heads);
    }

    /// Frees those that nobody else holds. Whether there were any.
    pub(crate) fn free(&mut self) -> bool {
        let before = self.heads.len();
        self.heads.retain(|head| Arc::strong_count(head) > 1);
        self.left.send_replace(self.heads.len());
        self.heads.len() < before
    }

    /// How many are held, to be waited for.
    pub(crate) fn left(&self) -> watch::Receiver<usize> {
        self.left.subscribe()
    }
}

/// The heads of `before` that `after` serves no longer.
pub(crate) fn no_longer_served(before: &LiveTask, after: Option<&LiveTask>) -> Vec<Arc<Head>> {
    let is_kept = |head: &Arc<Head>| {
        let mut versions = after.into_iter().flat_map(|task| task.versions.values());
        versions.any(|served| Arc::ptr_eq(&served.head, head))
    };
    let heads = before.versions.values().map(|served| &served.head);
    heads.filter(|head| !is_kept(head)).cloned().collect()
}

/// Has the writer look again as long as calls hold a head; never returns.
pub(crate) async fn free_in_time(changes: &Changes) -> Infallible {
    let mut left = changes.retired_heads();
    let author = Author::server("freeing");
    loop {
        if left.wait_for(|left| *left > 0).await.is_err() {
            // The writer has ended, and with it what it held.
            return std::future::pending().await;
        }
        sleep(LOOK_EVERY).await;
        // A writer with too much to do frees with its next change.
        let _ = changes.run(&author, Writer::free_retired_heads).await;
    }
}

#[cfg(test)]
mod tests {
    use engine::{Selector, TaskKey, TenantName, Version};
    use registry::Change;

    use super::*;
    use crate::testing::{install, serving};

    #[tokio::test]
    async fn a_call_that_lets_a_deleted_head_go_does_not_free_it_and_the_writer_does() {
        let (_folder, _phase, serving) = serving();
        let key = TaskKey { tenant: TenantName::default_tenant(), task: "task".parse().unwrap() };
        let apply = async |changes: Vec<Change>| {
            let job = move |writer: &mut Writer| {
                changes.into_iter().for_each(|change| drop(writer.apply(change).unwrap()));
                std::thread::current().name().map(str::to_owned)
            };
            serving.changes().run(&Author::server("test"), job).await.unwrap()
        };
        apply(vec![install(&key, 1.0), install(&key, 2.0)]).await;
        let find = |version| {
            let task = serving.engine().live().find(&key).unwrap();
            task.select(&Selector::Version(Version::new(version).unwrap())).unwrap()
        };
        let held = find(1);
        let [held_head, free_head] = [1, 2].map(|version| Arc::downgrade(&find(version).head));
        let delete = |version| Change::DeleteVersion {
            key: key.clone(),
            version: Version::new(version).unwrap(),
            with_aliases: true,
        };
        apply(vec![install(&key, 3.0), delete(1), delete(2)]).await;
        assert_eq!(free_head.strong_count(), 0, "nobody held it, so it went with the change");
        drop(held);
        assert_eq!(held_head.strong_count(), 1, "the writer holds it");
        let freed = async {
            while held_head.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            never = free_in_time(serving.changes()) => match never {},
            freed = tokio::time::timeout(Duration::from_secs(60), freed) => freed.expect("it is freed in time"),
        }
        assert_eq!(apply(Vec::new()).await.as_deref(), Some("registry"), "that is the thread of all of this");
    }
}
