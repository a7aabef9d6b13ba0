//! The wireless network that a stick joins.
//!
//! Owns: what a name and a password may be, the file that `wpa_supplicant` reads. Must not know: drivers, the stick.
//!
//! The password lies on the stick as it was typed: whoever has the stick can read it.

use crate::value::Secret;

/// A wireless network.
#[derive(Clone, Debug)]
pub struct Network {
    ssid: String,
    password: Option<Secret>,
}

/// Name or password are none. The password itself is never told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// Wrong name.
    #[error("`{0}` is no name of a wireless network: it has 1 to 32 bytes")]
    Name(String),
    /// Wrong password.
    #[error(
        "the password has {0} characters; WPA takes 8 to 63 printable ASCII ones, or 64 hexadecimal digits"
    )]
    Length(usize),
    /// Wrong character.
    #[error("character {0} of the password is not printable ASCII, which is all that WPA takes")]
    Character(usize),
}

impl Network {
    /// Checks name and password; without a password the network is open.
    ///
    /// # Errors
    /// [`BadNetwork`]
    pub fn new(ssid: &str, password: Option<Secret>) -> Result<Network, BadNetwork> {
        if ssid.is_empty() || ssid.len() > 32 {
            return Err(BadNetwork::Name(ssid.to_owned()));
        }
        if let Some(password) = &password {
            check(password.expose())?;
        }
        Ok(Network { ssid: ssid.to_owned(), password })
    }

    /// `wpa_supplicant.conf`.
    pub fn configuration(&self) -> String {
        // Unquoted hexadecimal: no character of the name can mean anything to the file.
        let ssid: String = self.ssid.bytes().map(|byte| format!("{byte:02x}")).collect();
        let key = match self.password.as_ref().map(Secret::expose) {
            None => "key_mgmt=NONE".to_owned(),
            Some(key) if is_key(key) => format!("key_mgmt=WPA-PSK WPA-PSK-SHA256\n\tpsk={key}"),
            // A quote in a password ends nothing: the last one of the line does.
            Some(password) => {
                format!("key_mgmt=WPA-PSK WPA-PSK-SHA256 SAE\n\tieee80211w=1\n\tpsk=\"{password}\"")
            }
        };
        // Hidden networks are found only by those who ask for them: scan_ssid.
        format!(
            "ctrl_interface=/run/wpa_supplicant\nupdate_config=0\nnetwork={{\n\tssid={ssid}\n\tscan_ssid=1\n\t{key}\n}}\n"
        )
    }
}

fn check(password: &str) -> Result<(), BadNetwork> {
    if let Some(at) = password.chars().position(|c| !matches!(c, ' '..='~')) {
        return Err(BadNetwork::Character(at + 1));
    }
    match password.len() {
        8..=63 => Ok(()),
        _ if is_key(password) => Ok(()),
        length => Err(BadNetwork::Length(length)),
    }
}

fn is_key(password: &str) -> bool {
    password.len() == 64 && password.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(ssid: &str, password: &str) -> Result<Network, BadNetwork> {
        Network::new(ssid, Some(Secret::new(password)))
    }

    #[test]
    fn a_name_cannot_break_the_file_and_the_password_stands_as_it_was_typed() {
        let text = network("Lab\"\n2", "a \"quoted\" one").unwrap().configuration();
        assert!(
            text.contains("\tssid=4c6162220a32\n") && text.contains("\tpsk=\"a \"quoted\" one\"\n"),
            "{text}"
        );
        assert!(Network::new("Open", None).unwrap().configuration().contains("key_mgmt=NONE"));
        let key = "0123456789abcdef".repeat(4);
        assert!(network("x", &key).unwrap().configuration().contains(&format!("\tpsk={key}\n")));
    }

    #[test]
    fn what_wpa_does_not_take_is_refused_without_telling_it() {
        assert_eq!(network("x", "1234567").unwrap_err(), BadNetwork::Length(7));
        assert_eq!(network("x", &"g".repeat(64)).unwrap_err(), BadNetwork::Length(64));
        assert_eq!(network("x", "passwörter").unwrap_err(), BadNetwork::Character(6));
        assert_eq!(network("x", "12345678\npsk=").unwrap_err(), BadNetwork::Character(9));
        assert!(network("", "12345678").is_err() && network(&"x".repeat(33), "12345678").is_err());
        let shown = format!("{:?}", network("x", "hunter2hunter2").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
