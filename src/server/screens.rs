//! What Macs show their technicians, as far as they said, and what they are told to do from afar. In memory only: a Mac that is
//! there says it again.
//!
//! Must not know: HTTP, runs.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::api::runner::Offer;
use crate::api::wizard::{RemoteOrder, Screen, ScreenReport};

/// A Mac that spoke within this time is there: longer than one question for news waits.
const HERE_MS: i64 = 35_000;
/// Screens that are kept.
const MOST_SCREENS: usize = 10_000;
/// Orders that wait for one Mac.
const MOST_ORDERS: usize = 16;

/// The Mac is not at its wizard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Mac is not there")]
pub struct NotHere {
    /// When it spoke last, if ever since the daemon started.
    pub seen_ms: Option<i64>,
}

/// All screens. Cheap to clone.
#[derive(Clone, Default)]
pub struct Screens(Arc<Mutex<HashMap<i64, Entry>>>);

struct Entry {
    report: Option<ScreenReport>,
    since_ms: i64,
    seen_ms: i64,
    offers: Vec<Offer>,
    orders: VecDeque<(u64, RemoteOrder)>,
    last: u64,
    /// Grows with everything that is shown.
    change: watch::Sender<u64>,
    /// Rung when there is something for the Mac.
    bell: watch::Sender<u64>,
}

impl Entry {
    /// Order numbers go on after a restart of the daemon, by its clock.
    fn new(now_ms: i64) -> Entry {
        let first = u64::try_from(now_ms).unwrap_or(0);
        Entry {
            report: None,
            since_ms: now_ms,
            seen_ms: now_ms,
            offers: Vec::new(),
            orders: VecDeque::new(),
            last: first,
            change: watch::Sender::new(first),
            bell: watch::Sender::new(0),
        }
    }

    fn is_here(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.seen_ms) <= HERE_MS
    }
}

impl Screens {
    /// What a Mac shows now. True when its keyboard layout is another than before.
    pub fn report(&self, device: i64, report: ScreenReport, now_ms: i64) -> bool {
        self.with(device, now_ms, |entry| {
            let key = |report: &ScreenReport| (report.page, report.run, report.title.clone());
            if entry.report.as_ref().map(key) != Some(key(&report)) {
                entry.since_ms = now_ms;
            }
            let keyboard = entry.report.as_ref().and_then(|old| old.keyboard.clone());
            let other = report.keyboard.is_some() && report.keyboard != keyboard;
            if entry.report.as_ref() != Some(&report) {
                entry.report = Some(report);
                entry.change.send_modify(|change| *change += 1);
            }
            other
        })
    }

    /// What a Mac was offered in its last greeting.
    pub fn offered(&self, device: i64, offers: &[Offer], now_ms: i64) {
        self.with(device, now_ms, |entry| {
            if entry.offers != offers {
                entry.offers = offers.to_vec();
                entry.change.send_modify(|change| *change += 1);
            }
        });
    }

    /// Orders after a number; those up to it have arrived and are forgotten. And a bell for the next ones.
    pub fn orders(
        &self,
        device: i64,
        after: u64,
        now_ms: i64,
    ) -> (Vec<RemoteOrder>, u64, watch::Receiver<u64>) {
        self.with(device, now_ms, |entry| {
            entry.orders.retain(|(number, _)| *number > after);
            let orders = entry.orders.iter().map(|(_, order)| *order).collect();
            let last = entry.orders.back().map_or(after, |(number, _)| *number);
            (orders, last, entry.bell.subscribe())
        })
    }

    /// Tells a Mac to do something.
    ///
    /// # Errors
    /// When it is not there: an order must not wait for a Mac that comes back tomorrow.
    pub fn order(&self, device: i64, order: RemoteOrder, now_ms: i64) -> Result<(), NotHere> {
        let mut all = self.lock();
        let Some(entry) = all.get_mut(&device) else { return Err(NotHere { seen_ms: None }) };
        if !entry.is_here(now_ms) {
            entry.orders.clear();
            return Err(NotHere { seen_ms: Some(entry.seen_ms) });
        }
        entry.last = (entry.last + 1).max(u64::try_from(now_ms).unwrap_or(0));
        entry.orders.push_back((entry.last, order));
        if entry.orders.len() > MOST_ORDERS {
            entry.orders.pop_front();
        }
        entry.bell.send_modify(|rung| *rung += 1);
        Ok(())
    }

    /// Lets a Mac look again, if it is there: something that it waits for has changed.
    pub fn nudge(&self, device: i64, now_ms: i64) {
        // One that is not there looks by itself when it comes.
        let _ = self.order(device, RemoteOrder::Look, now_ms);
    }

    /// Rings the bell of a Mac: there is a message for it.
    pub fn ring(&self, device: i64) {
        if let Some(entry) = self.lock().get(&device) {
            entry.bell.send_modify(|rung| *rung += 1);
            entry.change.send_modify(|change| *change += 1);
        }
    }

    /// What a Mac shows, as soon as it is newer than `after`, else after `wait`. None: it has said nothing since the daemon started.
    /// The messages are left empty here.
    pub async fn watch(&self, device: i64, after: u64, wait: Duration, now: fn() -> i64) -> Option<Screen> {
        let mut changes = self.lock().get(&device)?.change.subscribe();
        let _ = tokio::time::timeout(wait, changes.wait_for(|change| *change > after)).await;
        let all = self.lock();
        let entry = all.get(&device)?;
        let report = entry.report.clone()?;
        let now_ms = now();
        Some(Screen {
            device,
            change: *entry.change.borrow(),
            page: report.page,
            title: report.title,
            text: report.text,
            since_ms: entry.since_ms,
            seen_ms: entry.seen_ms,
            here: entry.is_here(now_ms),
            run: report.run,
            keyboard: report.keyboard,
            offers: entry.offers.clone(),
            messages: Vec::new(),
        })
    }

    fn with<T>(&self, device: i64, now_ms: i64, change: impl FnOnce(&mut Entry) -> T) -> T {
        let mut all = self.lock();
        if all.len() >= MOST_SCREENS && !all.contains_key(&device) {
            let oldest = all.iter().min_by_key(|(_, entry)| entry.seen_ms).map(|(device, _)| *device);
            oldest.map(|oldest| all.remove(&oldest));
        }
        let entry = all.entry(device).or_insert_with(|| Entry::new(now_ms));
        entry.seen_ms = now_ms;
        change(entry)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wizard::PageName;

    fn report(page: PageName, title: &str) -> ScreenReport {
        ScreenReport { page, title: title.into(), text: vec![title.into()], run: None, keyboard: None }
    }

    fn clock() -> i64 {
        100_000
    }

    #[tokio::test]
    async fn a_page_keeps_the_time_since_when_it_is_shown_while_its_text_moves() {
        let screens = Screens::default();
        assert!(screens.watch(1, 0, Duration::ZERO, clock).await.is_none());
        screens.report(1, report(PageName::Choose, "a"), 90_000);
        let more = ScreenReport { text: vec!["b".into()], ..report(PageName::Choose, "a") };
        screens.report(1, more, 95_000);
        let seen = screens.watch(1, 0, Duration::ZERO, clock).await.unwrap();
        assert_eq!((seen.since_ms, seen.seen_ms, seen.text[0].as_str()), (90_000, 95_000, "b"));
        let change = seen.change;
        screens.report(1, report(PageName::Confirm, "a"), 96_000);
        let seen = screens.watch(1, change, Duration::from_secs(60), clock).await.unwrap();
        assert_eq!((seen.page, seen.since_ms, seen.here), (PageName::Confirm, 96_000, true));
    }

    #[test]
    fn an_order_is_given_until_it_has_arrived_and_to_nobody_who_is_gone() {
        let screens = Screens::default();
        assert_eq!(screens.order(1, RemoteOrder::Restart, 0), Err(NotHere { seen_ms: None }));
        screens.report(1, report(PageName::Choose, "a"), 1000);
        screens.order(1, RemoteOrder::Look, 2000).unwrap();
        let (orders, last, bell) = screens.orders(1, 0, 3000);
        assert_eq!(orders, [RemoteOrder::Look]);
        assert_eq!(screens.orders(1, 0, 3000).0, [RemoteOrder::Look], "the answer may have got lost");
        assert!(screens.orders(1, last, 3000).0.is_empty());
        screens.order(1, RemoteOrder::Restart, 4000).unwrap();
        assert!(bell.has_changed().unwrap());
        let gone = screens.order(1, RemoteOrder::ShutDown, 3000 + HERE_MS + 1);
        assert_eq!(gone, Err(NotHere { seen_ms: Some(3000) }));
        assert!(screens.orders(1, last, 90_000).0.is_empty(), "what was not fetched is too old by now");
    }
}
