//! Between the worker and everybody else: news to the screen, orders from it, and requests that are repeated until the
//! appliance answers.
//!
//! Must not know: what the requests are, how news is shown.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::desk::Desk;
use super::network::Place;
use super::wizard::{Down, Order, Told};
use crate::client::ClientError;

/// Pauses between tries grow from here …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … to here: a Mac that waits for an appliance notices soon that it is back, and thirty of them do not flood it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The worker's ends of the channels.
pub struct Link {
    news: Sender<Told>,
    orders: Receiver<Order>,
    first_pause: Duration,
    /// Appliance and proxy that a person named.
    place: RefCell<Place>,
    desk: Desk,
}

/// Why the worker stops waiting.
#[derive(Debug)]
pub enum Interrupted {
    /// The appliance refuses, or is not trusted: asking again does not help.
    Refused(ClientError),
    /// A person wants the machine to go down, or the screen is gone.
    Down(Down),
    /// A person named another appliance or proxy.
    Moved,
    /// Nobody answered as often as was asked for.
    Unanswered,
}

impl Link {
    /// Joins the two ends. `place`: what a person named before the runner was restarted.
    pub fn new(news: Sender<Told>, orders: Receiver<Order>, place: Place) -> Link {
        Link { news, orders, first_pause: FIRST_PAUSE, place: RefCell::new(place), desk: Desk::default() }
    }

    /// The same, and the desk is told who the appliance is.
    pub fn with_desk(self, desk: Desk) -> Link {
        Link { desk, ..self }
    }

    /// Who tells the appliance what the screen shows.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Appliance and proxy that a person named.
    pub fn place(&self) -> Place {
        self.place.borrow().clone()
    }

    /// Notes where the appliance is; nothing new means: try again now. Tells it that somebody here lets the machine go down.
    fn taken(&self, order: Order) -> Order {
        match order {
            Order::Moved(place) if *self.place.borrow() == place => Order::Again,
            Order::Moved(place) => {
                self.place.replace(place.clone());
                Order::Moved(place)
            }
            Order::DownByKey(down) => {
                self.desk.goes_down(down);
                Order::Down(down)
            }
            other => other,
        }
    }

    /// Shows news. A screen that is gone is noticed where orders are waited for.
    pub fn tell(&self, told: Told) {
        let _ = self.news.send(told);
    }

    /// A sender of news for other threads.
    pub fn news(&self) -> Sender<Told> {
        self.news.clone()
    }

    /// The next order, if one comes within `at_most`. A screen that is gone means: restart.
    pub fn order(&self, at_most: Duration) -> Option<Order> {
        match self.orders.recv_timeout(at_most) {
            Ok(order) => Some(self.taken(order)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Order::Down(Down::Restart)),
        }
    }

    /// The next order, however long it takes.
    pub fn wait_for_order(&self) -> Order {
        self.orders.recv().map_or(Order::Down(Down::Restart), |order| self.taken(order))
    }

    /// Asks until an answer comes, with growing pauses; what is waited for is shown.
    ///
    /// # Errors
    /// See [`Interrupted`].
    pub fn persist<T>(
        &self,
        what: &str,
        ask: impl FnMut() -> Result<T, ClientError>,
    ) -> Result<T, Interrupted> {
        self.persist_within(u32::MAX, what, ask)
    }

    /// As [`Link::persist`], and gives up after so many tries that nobody answered.
    ///
    /// # Errors
    /// See [`Interrupted`].
    pub fn persist_within<T>(
        &self,
        tries: u32,
        what: &str,
        mut ask: impl FnMut() -> Result<T, ClientError>,
    ) -> Result<T, Interrupted> {
        let mut tried = 0;
        let mut pause = self.first_pause;
        let mut waited = false;
        loop {
            let error = match ask() {
                Ok(answer) => {
                    if waited {
                        self.tell(Told::GoesOn);
                    }
                    return Ok(answer);
                }
                Err(error) if !error.may_pass() => return Err(Interrupted::Refused(error)),
                Err(error) => error,
            };
            tracing::debug!(%error, "waiting: {what}");
            self.tell(Told::Waiting { what: what.to_owned(), error: Some(error.to_string()) });
            waited = true;
            tried += 1;
            if tried >= tries {
                return Err(Interrupted::Unanswered);
            }
            match self.order(pause) {
                Some(Order::Down(down)) => return Err(Interrupted::Down(down)),
                Some(Order::Moved(_)) => return Err(Interrupted::Moved),
                Some(_) => pause = self.first_pause,
                None => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn down() -> ClientError {
        ClientError::Unreachable {
            address: "a".into(),
            request: "GET /".into(),
            cause: "refused".into(),
            tries: 1,
            remedy: "wait",
        }
    }

    fn link() -> (Link, mpsc::Receiver<Told>, Sender<Order>) {
        let ((news, seen), (orders, taken)) = (mpsc::channel(), mpsc::channel());
        let link = Link { first_pause: Duration::from_millis(1), ..Link::new(news, taken, Place::default()) };
        (link, seen, orders)
    }

    #[test]
    fn what_passes_by_itself_is_waited_out_and_shown() {
        let (link, seen, _orders) = link();
        let mut tries = 0;
        let answer = link.persist("the appliance", || {
            tries += 1;
            if tries < 4 { Err(down()) } else { Ok(tries) }
        });
        assert_eq!(answer.unwrap(), 4);
        let seen: Vec<_> = seen.try_iter().collect();
        assert_eq!(seen.len(), 4);
        assert!(
            matches!(&seen[0], Told::Waiting { what, error: Some(error) } if what == "the appliance" && error.contains("refused"))
        );
        assert_eq!(seen[3], Told::GoesOn);
    }

    #[test]
    fn a_refusal_is_not_repeated() {
        let (link, _seen, _orders) = link();
        let mut tries = 0;
        let refused = link.persist::<()>("x", || {
            tries += 1;
            Err(ClientError::BadAuthority("x".into()))
        });
        assert!(matches!(refused, Err(Interrupted::Refused(_))));
        assert_eq!(tries, 1);
    }

    #[test]
    fn a_new_address_ends_the_wait_and_the_same_one_only_the_pause() {
        let (link, _seen, orders) = link();
        let place = Place { server: Some("https://10.0.0.2".into()), proxy: None };
        orders.send(Order::Moved(place.clone())).unwrap();
        assert!(matches!(link.persist::<()>("x", || Err(down())), Err(Interrupted::Moved)));
        assert_eq!(link.place(), place);
        orders.send(Order::Moved(place)).unwrap();
        let mut tries = 0;
        let answer = link.persist_within(9, "x", || {
            tries += 1;
            if tries < 3 { Err(down()) } else { Ok(()) }
        });
        assert!(answer.is_ok());
    }

    #[test]
    fn who_goes_down_by_a_key_goes_down_also_where_no_appliance_is_known_to_be_told() {
        let (link, _seen, orders) = link();
        orders.send(Order::DownByKey(Down::ShutDown)).unwrap();
        assert_eq!(link.wait_for_order(), Order::Down(Down::ShutDown));
        orders.send(Order::DownByKey(Down::Restart)).unwrap();
        assert_eq!(link.order(Duration::ZERO), Some(Order::Down(Down::Restart)));
    }

    #[test]
    fn patience_may_have_an_end() {
        let (link, _seen, _orders) = link();
        let mut tries = 0;
        let end = link.persist_within::<()>(3, "x", || {
            tries += 1;
            Err(down())
        });
        assert!(matches!(end, Err(Interrupted::Unanswered)));
        assert_eq!(tries, 3);
    }

    #[test]
    fn a_person_who_wants_to_restart_does_not_wait() {
        let (link, _seen, orders) = link();
        orders.send(Order::Down(Down::ShutDown)).unwrap();
        assert!(matches!(link.persist::<()>("x", || Err(down())), Err(Interrupted::Down(Down::ShutDown))));
        drop(orders);
        assert_eq!(link.wait_for_order(), Order::Down(Down::Restart));
    }
}
