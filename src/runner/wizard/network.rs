//! The network page: shows the interfaces, takes a technician's settings in, tells what came of them. It lies over whatever page
//! is there, and that page goes on under it. Pure.
//!
//! Must not know: how it is drawn, how settings are brought into force.

use std::time::Duration;

use super::event::{Key, Order};
use crate::client::{appliance_address, checked_proxy};
use crate::runner::network::{
    Addressing, BadWire, Interface, NetworkNews, NetworkOrder, Part, Place, Seen, Wire, fixed, vlan,
};

/// How often the interfaces are looked at while the page is open.
const LOOK: Duration = Duration::from_secs(2);
/// Longest text in a field.
const LONGEST: usize = 100;

/// A line of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Which interface.
    Interface,
    /// Where its address comes from.
    Source,
    /// Address and prefix.
    Address,
    /// Router.
    Router,
    /// DNS servers.
    Dns,
    /// Number of the VLAN.
    Vlan,
    /// HTTP proxy.
    Proxy,
    /// Address of the appliance.
    Appliance,
}

/// Where an address shall come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Nothing changes on the interfaces.
    #[default]
    Unchanged,
    /// DHCP.
    Dhcp,
    /// What is typed.
    Static,
}

/// What is typed, as it is typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Name of the interface.
    pub interface: String,
    /// Where its address comes from.
    pub source: Source,
    /// `10.0.0.5/24`
    pub address: String,
    /// Router.
    pub router: String,
    /// DNS servers.
    pub dns: String,
    /// Number of the VLAN.
    pub vlan: String,
    /// HTTP proxy.
    pub proxy: String,
    /// Address of the appliance.
    pub appliance: String,
}

/// What the page says below the form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Said {
    /// Nothing yet.
    #[default]
    Nothing,
    /// A field is wrong.
    Wrong(Field, String),
    /// Something is being done.
    Doing(String),
    /// It is in force.
    Applied(String),
    /// It is not.
    Failed(String),
}

/// The page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPage {
    /// Interfaces and DNS servers; none until the first look.
    pub seen: Option<Seen>,
    /// What is typed.
    pub form: Form,
    /// The marked line.
    pub field: Option<Field>,
    /// What is said.
    pub said: Said,
    looked: Duration,
}

/// What a key means beyond the page.
pub enum Reply {
    /// Nothing.
    Stay,
    /// The page closes.
    Close,
    /// Somebody has to do this.
    Order(Order),
}

impl NetworkPage {
    /// Opens with what was set before; interfaces are looked at first.
    pub fn open(now: Duration, place: &Place, wire: Option<&Wire>) -> (NetworkPage, Order) {
        let form = Form {
            proxy: place.proxy.clone().unwrap_or_default(),
            appliance: place.server.clone().unwrap_or_default(),
            ..wire.map(Form::of).unwrap_or_default()
        };
        let page = NetworkPage { form, looked: now, field: Some(Field::Interface), ..NetworkPage::default() };
        (page, Order::Network(NetworkOrder::Look))
    }

    /// Time went on.
    pub fn tick(&mut self, now: Duration) -> Option<Order> {
        let busy = matches!(self.said, Said::Doing(_));
        let due = !busy && now.saturating_sub(self.looked) >= LOOK;
        due.then(|| {
            self.looked = now;
            Order::Network(NetworkOrder::Look)
        })
    }

    /// The network thread told something.
    pub fn heard(&mut self, news: NetworkNews) {
        match news {
            NetworkNews::Seen(seen) => {
                let adapters = adapters(&seen);
                if !adapters.iter().any(|interface| interface.name == self.form.interface) {
                    // One with a cable, if there is one.
                    let best = adapters.iter().find(|interface| interface.link == Some(true));
                    self.form.interface =
                        best.or(adapters.first()).map(|interface| interface.name.clone()).unwrap_or_default();
                }
                self.seen = Some(seen);
            }
            NetworkNews::Doing(text) => self.said = Said::Doing(text),
            NetworkNews::Applied { text, .. } => self.said = Said::Applied(text),
            NetworkNews::Failed(text) => self.said = Said::Failed(text),
        }
    }

    /// The lines that can be marked now: what does not matter is not there.
    pub fn fields(&self) -> Vec<Field> {
        let wire: &[Field] = match self.form.source {
            Source::Unchanged => &[],
            Source::Dhcp => &[Field::Vlan],
            Source::Static => &[Field::Address, Field::Router, Field::Dns, Field::Vlan],
        };
        [&[Field::Interface, Field::Source], wire, &[Field::Proxy, Field::Appliance]].concat()
    }

    /// Interfaces that can be chosen.
    pub fn adapters(&self) -> Vec<&Interface> {
        self.seen.as_ref().map(adapters).unwrap_or_default()
    }

    /// A key.
    pub fn pressed(&mut self, key: Key) -> Reply {
        let busy = matches!(self.said, Said::Doing(_));
        let field = self.field.unwrap_or(Field::Interface);
        match key {
            Key::Escape | Key::Function(3) => return Reply::Close,
            _ if busy => {}
            Key::Up | Key::BackTab => self.step(field, false),
            Key::Down | Key::Tab => self.step(field, true),
            Key::Enter => return self.apply(),
            Key::Left | Key::Right => self.turn(field, key == Key::Right),
            Key::Char(' ') if self.text(field).is_none() => self.turn(field, true),
            Key::Char(letter) => {
                if let Some(text) = self.text(field).filter(|text| text.chars().count() < LONGEST) {
                    text.push(letter);
                }
            }
            Key::Backspace => {
                if let Some(text) = self.text(field) {
                    text.pop();
                }
            }
            Key::PageUp | Key::PageDown | Key::Home | Key::End | Key::Function(_) => {}
        }
        Reply::Stay
    }

    fn step(&mut self, field: Field, down: bool) {
        let fields = self.fields();
        let at = fields.iter().position(|other| *other == field).unwrap_or(0);
        let next = if down { (at + 1).min(fields.len() - 1) } else { at.saturating_sub(1) };
        self.field = fields.get(next).copied();
    }

    /// The next or last of the choices of a line.
    fn turn(&mut self, field: Field, forward: bool) {
        match field {
            Field::Interface => {
                let names: Vec<String> =
                    self.adapters().iter().map(|interface| interface.name.clone()).collect();
                let at = names.iter().position(|name| *name == self.form.interface).unwrap_or(0);
                if let Some(name) = names.get(turned(at, names.len(), forward)) {
                    self.form.interface.clone_from(name);
                }
            }
            Field::Source => {
                const ALL: [Source; 3] = [Source::Unchanged, Source::Dhcp, Source::Static];
                let at = ALL.iter().position(|source| *source == self.form.source).unwrap_or(0);
                self.form.source = ALL[turned(at, ALL.len(), forward)];
            }
            _ => {}
        }
    }

    /// The text that a line takes.
    fn text(&mut self, field: Field) -> Option<&mut String> {
        let form = &mut self.form;
        match field {
            Field::Interface | Field::Source => None,
            Field::Address => Some(&mut form.address),
            Field::Router => Some(&mut form.router),
            Field::Dns => Some(&mut form.dns),
            Field::Vlan => Some(&mut form.vlan),
            Field::Proxy => Some(&mut form.proxy),
            Field::Appliance => Some(&mut form.appliance),
        }
    }

    fn apply(&mut self) -> Reply {
        match self.form.read() {
            Err((field, why)) => {
                self.field = Some(field);
                self.said = Said::Wrong(field, why);
                Reply::Stay
            }
            Ok((None, place)) => {
                self.said = Said::Applied(
                    "Proxy and appliance are as above; the interfaces are left as they are.".into(),
                );
                Reply::Order(Order::Moved(place))
            }
            Ok((Some(wire), place)) => {
                self.said = Said::Doing(format!("Setting {} up", wire.name()));
                Reply::Order(Order::Network(NetworkOrder::Apply { wire, place }))
            }
        }
    }
}

fn turned(at: usize, count: usize, forward: bool) -> usize {
    match forward {
        true => (at + 1) % count.max(1),
        false => at.checked_sub(1).unwrap_or(count.saturating_sub(1)),
    }
}

fn adapters(seen: &Seen) -> Vec<&Interface> {
    seen.interfaces.iter().filter(|interface| interface.below.is_none()).collect()
}

impl Form {
    /// What is in force, as somebody would have typed it.
    fn of(wire: &Wire) -> Form {
        let form = Form {
            interface: wire.interface.clone(),
            source: Source::Dhcp,
            vlan: wire.vlan.map(|id| id.to_string()).unwrap_or_default(),
            ..Form::default()
        };
        match &wire.addressing {
            Addressing::Dhcp => form,
            Addressing::Static { address, prefix, router, dns } => Form {
                source: Source::Static,
                address: format!("{address}/{prefix}"),
                router: router.map(|router| router.to_string()).unwrap_or_default(),
                dns: dns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                ..form
            },
        }
    }

    /// What is meant, or the line that is wrong.
    fn read(&self) -> Result<(Option<Wire>, Place), (Field, String)> {
        let at = |bad: BadWire| {
            let field = match bad.part {
                Part::Vlan => Field::Vlan,
                Part::Address => Field::Address,
                Part::Router => Field::Router,
                Part::Dns => Field::Dns,
            };
            (field, bad.why)
        };
        let addressing = match self.source {
            Source::Unchanged => None,
            Source::Dhcp => Some(Addressing::Dhcp),
            Source::Static => Some(fixed(&self.address, &self.router, &self.dns).map_err(at)?),
        };
        let wire = match addressing {
            None => None,
            Some(_) if self.interface.is_empty() => {
                let why = "there is no wired interface: connect an adapter".to_owned();
                return Err((Field::Interface, why));
            }
            Some(addressing) => Some(Wire {
                interface: self.interface.clone(),
                vlan: vlan(&self.vlan).map_err(at)?,
                addressing,
            }),
        };
        let typed = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        let proxy = typed(&self.proxy).map(|text| checked_proxy(&text)).transpose();
        let server = typed(&self.appliance).map(|text| appliance_address(&text)).transpose();
        Ok((
            wire,
            Place {
                proxy: proxy.map_err(|error| (Field::Proxy, error.to_string()))?,
                server: server.map_err(|error| (Field::Appliance, error.to_string()))?,
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, link: bool) -> Interface {
        Interface { name: name.into(), link: Some(link), ..Interface::default() }
    }

    fn page() -> NetworkPage {
        let (mut page, _) = NetworkPage::open(Duration::ZERO, &Place::default(), None);
        let vlan = Interface { below: Some("eth1".into()), ..interface("vlan9", true) };
        let interfaces = vec![interface("eth0", false), interface("eth1", true), vlan];
        page.heard(NetworkNews::Seen(Seen { interfaces, dns: Vec::new() }));
        page
    }

    fn type_in(page: &mut NetworkPage, field: Field, text: &str) {
        page.field = Some(field);
        text.chars().for_each(|letter| drop(page.pressed(Key::Char(letter))));
    }

    fn order(reply: Reply) -> Option<Order> {
        match reply {
            Reply::Order(order) => Some(order),
            Reply::Stay | Reply::Close => None,
        }
    }

    #[test]
    fn the_interface_with_a_cable_is_proposed_and_a_vlan_is_no_adapter() {
        let mut page = page();
        assert_eq!(page.form.interface, "eth1");
        page.pressed(Key::Right);
        assert_eq!(page.form.interface, "eth0");
        page.pressed(Key::Left);
        assert_eq!(page.form.interface, "eth1");
    }

    #[test]
    fn a_static_address_on_a_vlan_is_ordered_together_with_appliance_and_proxy() {
        let mut page = page();
        page.form.source = Source::Static;
        type_in(&mut page, Field::Address, "10.5.0.9/24x");
        page.pressed(Key::Backspace);
        type_in(&mut page, Field::Router, "10.5.0.1");
        type_in(&mut page, Field::Vlan, "5");
        type_in(&mut page, Field::Proxy, "10.5.0.1:3128");
        type_in(&mut page, Field::Appliance, "10.0.0.2");
        let wire = Wire {
            interface: "eth1".into(),
            vlan: Some(5),
            addressing: fixed("10.5.0.9/24", "10.5.0.1", "").unwrap(),
        };
        let place =
            Place { server: Some("https://10.0.0.2".into()), proxy: Some("http://10.5.0.1:3128".into()) };
        let ordered = order(page.pressed(Key::Enter));
        assert_eq!(
            ordered,
            Some(Order::Network(NetworkOrder::Apply { wire: wire.clone(), place: place.clone() }))
        );
        // While it is being done nothing is typed over, and it is not ordered twice.
        page.pressed(Key::Char('9'));
        assert_eq!(order(page.pressed(Key::Enter)), None);
        page.heard(NetworkNews::Applied { wire, place, text: "vlan5 has 10.5.0.9/24.".into() });
        assert_eq!(page.said, Said::Applied("vlan5 has 10.5.0.9/24.".into()));
        assert_eq!(page.form.appliance, "10.0.0.2");
    }

    #[test]
    fn what_failed_is_said() {
        let mut page = page();
        page.form.source = Source::Dhcp;
        assert!(order(page.pressed(Key::Enter)).is_some());
        page.heard(NetworkNews::Failed("no link".into()));
        assert_eq!(page.said, Said::Failed("no link".into()));
    }

    #[test]
    fn a_wrong_line_is_marked_with_the_reason() {
        for (field, text) in [
            (Field::Address, "10.0.0.5"),
            (Field::Vlan, "5000"),
            (Field::Proxy, "proxy"),
            (Field::Appliance, "http://10.0.0.2"),
        ] {
            let mut page = page();
            page.form.source = Source::Static;
            page.form.address = "10.0.0.9/24".into();
            if field == Field::Address {
                page.form.address.clear();
            }
            type_in(&mut page, field, text);
            page.field = Some(Field::Source);
            assert_eq!(order(page.pressed(Key::Enter)), None);
            let Said::Wrong(wrong, why) = &page.said else { panic!("{:?}", page.said) };
            assert_eq!((*wrong, page.field), (field, Some(field)), "{why}");
            assert!(why.contains(text), "{why}");
        }
    }

    #[test]
    fn only_proxy_and_appliance_leave_the_interfaces_alone() {
        let mut page = page();
        type_in(&mut page, Field::Appliance, "lab.example");
        let place = Place { server: Some("https://lab.example".into()), proxy: None };
        assert_eq!(order(page.pressed(Key::Enter)), Some(Order::Moved(place)));
    }

    #[test]
    fn lines_that_do_not_matter_are_not_there() {
        let mut page = page();
        assert_eq!(page.fields(), [Field::Interface, Field::Source, Field::Proxy, Field::Appliance]);
        page.pressed(Key::Down);
        page.pressed(Key::Char(' '));
        assert!(page.fields().contains(&Field::Vlan) && !page.fields().contains(&Field::Address));
        page.pressed(Key::Right);
        assert!(page.fields().contains(&Field::Address));
        (0..20).for_each(|_| drop(page.pressed(Key::Tab)));
        assert_eq!(page.field, Some(Field::Appliance));
    }

    #[test]
    fn what_was_set_stands_in_the_form_when_it_opens_again() {
        let wire = Wire {
            interface: "eth0".into(),
            vlan: Some(7),
            addressing: fixed("10.0.0.5/24", "10.0.0.1", "10.0.0.1 9.9.9.9").unwrap(),
        };
        let (page, _) = NetworkPage::open(Duration::ZERO, &Place::default(), Some(&wire));
        assert_eq!(page.form.read().unwrap().0, Some(wire));
    }

    #[test]
    fn a_field_does_not_grow_without_end_and_the_interfaces_are_looked_at_again() {
        let mut page = page();
        type_in(&mut page, Field::Appliance, &"x".repeat(1000));
        assert_eq!(page.form.appliance.len(), LONGEST);
        assert_eq!(page.tick(Duration::from_secs(1)), None);
        assert_eq!(page.tick(Duration::from_secs(2)), Some(Order::Network(NetworkOrder::Look)));
        assert_eq!(page.tick(Duration::from_secs(3)), None);
    }
}
