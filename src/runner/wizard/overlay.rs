//! The network page over the other pages: where it opens, what goes on below it, how it closes.
//!
//! Must not know: the page's form.

use std::time::Duration;

use super::network::{NetworkPage, Reply};
use super::state::{Key, Order, Page, State};
use crate::runner::network::NetworkNews;

impl State {
    /// Whether the network page can be opened here: not where something is confirmed, nor while a run goes well.
    pub fn offers_network(&self) -> bool {
        match &self.page {
            Page::Connecting { .. } | Page::Choose { .. } | Page::Problem(_) => true,
            Page::Appliances(page) => page.typed.is_none(),
            Page::Running(running) => running.waiting.is_some(),
            Page::Confirm { .. } | Page::Result { .. } | Page::Restarting => false,
        }
    }
}

/// Opens it; its first order is to look at the interfaces.
pub(super) fn open(state: &mut State) -> Order {
    let (page, order) = NetworkPage::open(state.now, &state.place, state.wire.as_ref());
    state.network = Some(page);
    order
}

/// News of the network thread. What came into force concerns the worker too, whether the page is still open or not.
pub(super) fn heard(state: &mut State, news: NetworkNews) -> Option<Order> {
    let moved = match &news {
        NetworkNews::Applied { wire, place, .. } => {
            state.wire = Some(wire.clone());
            Some(Order::Moved(place.clone()))
        }
        _ => None,
    };
    if let Some(page) = &mut state.network {
        page.heard(news);
    }
    moved
}

/// A key, while it is open.
pub(super) fn pressed(state: &mut State, key: Key) -> Option<Order> {
    match state.network.as_mut()?.pressed(key) {
        Reply::Stay => None,
        Reply::Order(order) => Some(order),
        Reply::Close => {
            close(state);
            None
        }
    }
}

/// A countdown that ran behind the network page begins anew: nobody could see it.
fn close(state: &mut State) {
    state.network = None;
    if let Page::Confirm { offer, starts_at: Some(at), .. } = &mut state.page {
        *at = state.now + Duration::from_secs(offer.countdown.into());
    }
}
