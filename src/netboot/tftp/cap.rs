//! Which clients get smaller blocks than they ask for: firmware that requests more than its network stack can take.

use crate::value::MacAddr;
use crate::value::Model;

/// One rule: these clients get blocks of at most so many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    /// Beginnings of model identifiers, `MacBookPro14` or `iMac`; compared without regard to case.
    pub models: Vec<String>,
    /// Hardware addresses.
    pub macs: Vec<MacAddr>,
    /// Largest block for them.
    pub max_block_size: u16,
}

impl Cap {
    fn is_for(&self, mac: Option<MacAddr>, model: Option<&Model>) -> bool {
        let begins = |text: &str, start: &String| {
            text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
        };
        mac.is_some_and(|mac| self.macs.contains(&mac))
            || model.is_some_and(|model| self.models.iter().any(|start| begins(model.as_str(), start)))
    }
}

/// The largest block for a client: the smallest of `general` and all caps that are for it.
pub fn largest_block(general: u16, caps: &[Cap], mac: Option<MacAddr>, model: Option<&Model>) -> u16 {
    let own = caps.iter().filter(|cap| cap.is_for(mac, model)).map(|cap| cap.max_block_size);
    own.fold(general, u16::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_cap_that_is_for_a_client_counts() {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let caps = [
            Cap { models: vec!["macbookpro14".into(), "iMac1".into()], macs: vec![], max_block_size: 1024 },
            Cap { models: vec![], macs: vec![mac], max_block_size: 512 },
        ];
        let model = |text: &str| text.parse::<Model>().unwrap();
        let largest = |mac, text: Option<&str>| largest_block(1428, &caps, mac, text.map(model).as_ref());
        assert_eq!(largest(None, None), 1428, "nothing is known of it");
        assert_eq!(largest(None, Some("MacBookPro14,3")), 1024);
        assert_eq!(largest(None, Some("iMac14,2")), 1024);
        assert_eq!(largest(None, Some("iMac")), 1428, "shorter than the rule");
        assert_eq!(largest(Some(mac), Some("iMac14,2")), 512);
        assert_eq!(largest_block(400, &caps, Some(mac), None), 400, "a cap never raises");
    }
}
