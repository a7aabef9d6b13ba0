//! A property list read with a budget: a binary one of a few hundred bytes can otherwise unfold into gigabytes,
//! because its lists may name the same list again and again.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, Visitor};

/// Values in one property list. A set for every Mac model ever made has some hundred.
const MOST_VALUES: u32 = 20_000;
/// Bytes of text in all. A binary property list may name one long string thousands of times.
const MOST_TEXT: usize = 4 * super::LONGEST_PLIST;
/// NBImageInfo.plist is a dictionary of lists; more is somebody's extension, much more an attack.
const DEEPEST: u32 = 8;

/// The values that NBImageInfo.plist uses. Dates, data and dictionaries inside are read over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<Value>),
    Dictionary(BTreeMap<String, Value>),
    Other,
}

impl Value {
    /// Reads XML or binary, by its first bytes.
    pub(super) fn read(bytes: &[u8]) -> Result<Value, ::plist::Error> {
        ::plist::from_bytes::<Root>(bytes).map(|Root(value)| value)
    }
}

struct Root(Value);

impl<'de> de::Deserialize<'de> for Root {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Root, D::Error> {
        let budget = Budget { values: Cell::new(MOST_VALUES), text: Cell::new(MOST_TEXT) };
        Node { left: &budget, depth: 0 }.deserialize(deserializer).map(Root)
    }
}

/// What may still be spent.
struct Budget {
    values: Cell<u32>,
    text: Cell<usize>,
}

/// One value about to be read.
#[derive(Clone, Copy)]
struct Node<'b> {
    left: &'b Budget,
    depth: u32,
}

impl Node<'_> {
    fn inner(&self) -> Self {
        Node { left: self.left, depth: self.depth + 1 }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.values.get().checked_sub(1).filter(|_| self.depth <= DEEPEST);
        self.left.values.set(left.ok_or_else(|| de::Error::custom("too many values, or nested too deeply"))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a property list value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Other, Value::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        let left = self.left.text.get().checked_sub(text.len());
        self.left.text.set(left.ok_or_else(|| de::Error::custom("the same text too often"))?);
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner())? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut dictionary = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            dictionary.insert(key, entries.next_value_seed(self.inner())?);
        }
        Ok(Value::Dictionary(dictionary))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A binary property list of `levels` lists, each naming the next one sixteen times.
    fn bomb(levels: u8) -> Vec<u8> {
        let mut bytes = b"bplist00".to_vec();
        let mut offsets = Vec::new();
        for level in 0..levels {
            offsets.push(u16::try_from(bytes.len()).unwrap());
            bytes.extend([0xaf, 0x10, 16]);
            bytes.extend([level + 1; 16]);
        }
        offsets.push(u16::try_from(bytes.len()).unwrap());
        bytes.push(0x09);
        let table = bytes.len() as u64;
        bytes.extend(offsets.iter().flat_map(|offset| offset.to_be_bytes()));
        bytes.extend([0, 0, 0, 0, 0, 0, 2, 1]);
        bytes.extend(u64::from(levels + 1).to_be_bytes());
        bytes.extend(0u64.to_be_bytes());
        bytes.extend(table.to_be_bytes());
        bytes
    }

    #[test]
    fn a_list_that_names_itself_sixteenfold_is_refused_before_it_unfolds() {
        let Value::List(small) = Value::read(&bomb(2)).unwrap() else { panic!("no list") };
        assert_eq!(small.len(), 16);
        let wrong = Value::read(&bomb(6)).unwrap_err().to_string();
        assert!(wrong.contains("too many values"), "{wrong}");
    }

    #[test]
    fn a_string_that_is_named_a_thousandfold_is_refused_before_it_is_copied() {
        let list = |times: u8| {
            let mut bytes = b"bplist00\xaf\x10".to_vec();
            bytes.push(times);
            bytes.extend(vec![1; times.into()]);
            let text = bytes.len() as u8;
            bytes.extend([0x5f, 0x11, 0x40, 0]);
            bytes.extend([b'a'; 0x4000]);
            let table = bytes.len() as u64;
            bytes.extend([8, text, 0, 0, 0, 0, 0, 0, 1, 1]);
            bytes.extend([2, 0, table].map(u64::to_be_bytes).concat());
            Value::read(&bytes)
        };
        assert!(matches!(list(16), Ok(Value::List(texts)) if texts.len() == 16));
        assert!(list(17).unwrap_err().to_string().contains("too often"));
    }

    #[test]
    fn lists_nested_a_thousandfold_are_refused() {
        let text = format!("<plist>{}{}</plist>", "<array>".repeat(1000), "</array>".repeat(1000));
        assert!(Value::read(text.as_bytes()).unwrap_err().to_string().contains("too deeply"));
    }

    #[test]
    fn dates_data_and_numbers_with_fractions_are_read_over() {
        let text = "<plist version=\"1.0\"><dict><key>a</key><date>2016-01-02T03:04:05Z</date><key>b</key><data>AAAA\
                    </data><key>c</key><real>1.5</real><key>d</key><integer>7</integer></dict></plist>";
        let Value::Dictionary(read) = Value::read(text.as_bytes()).unwrap() else { panic!("no dictionary") };
        assert_eq!(read["d"], Value::Number(7));
        assert_eq!((&read["b"], &read["c"]), (&Value::Other, &Value::Other));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Value::read(&bytes);
            let _ = Value::read(&[b"bplist00", &bytes[..]].concat());
        }
    }
}
