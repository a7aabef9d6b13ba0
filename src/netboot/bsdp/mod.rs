//! Boot Service Discovery Protocol: Apple's messages inside DHCP option 43 (Apple's BSDP.doc 1.0.8 and bootpd).
//!
//! | code | name | length | sent by |
//! |---|---|---|---|
//! | 1 | message type: 1 LIST, 2 SELECT, 3 FAILED | 1 | both |
//! | 2 | version | 2 | client |
//! | 3 | server identifier | 4 | client in SELECT |
//! | 4 | server priority | 2 | server in LIST |
//! | 5 | reply port | 2 | client |
//! | 7 | default boot image id | 4 | server in LIST |
//! | 8 | selected boot image id | 4 | both |
//! | 9 | boot image list: {id(4) length(1) name} … | n | server in LIST |
//! | 10 | NetBoot 1.0 firmware | 0 | client |
//! | 11 | image attributes filter list | 2 n | client |
//! | 12 | max message size | 2 | client in LIST |
//! | 128 | shadow mount path | n | server in SELECT |
//! | 129 | shadow file path | n | server in SELECT |
//! | 130 | machine name | n | server in SELECT |
//!
//! Owns: what is a BSDP request, image ids, the bodies of option 43, bindings. Must not know: which images there are.

mod binding;
mod image;
mod list;
mod request;

pub use binding::{Binding, BindingTable, Change, MOST_BINDINGS, Write};
pub use image::{Attributes, BadImageId, ImageId};
pub use list::{List, Written, room_for_lists};
pub use request::{NotBsdp, Request};

/// What option 60 of every request begins with, and the whole of option 60 of every reply: firmware ignores replies
/// whose option 60 is anything else.
pub const CLASS: &[u8] = b"AAPLBSDPC";

/// BSDP message types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageType {
    /// Which images are there?
    List = 1,
    /// I take this one.
    Select = 2,
    /// The server cannot serve what was selected.
    Failed = 3,
}

/// Option codes inside option 43.
mod code {
    pub const PAD: u8 = 0;
    pub const MESSAGE_TYPE: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const SERVER_ID: u8 = 3;
    pub const PRIORITY: u8 = 4;
    pub const REPLY_PORT: u8 = 5;
    pub const DEFAULT_IMAGE: u8 = 7;
    pub const SELECTED_IMAGE: u8 = 8;
    pub const IMAGE_LIST: u8 = 9;
    pub const NETBOOT_1_0: u8 = 10;
    pub const FILTER: u8 = 11;
    pub const MAX_MESSAGE_SIZE: u8 = 12;
    pub const SHADOW_MOUNT: u8 = 128;
    pub const SHADOW_FILE: u8 = 129;
    pub const MACHINE_NAME: u8 = 130;
    pub const END: u8 = 255;
}

/// Where a Mac without a disk of its own writes what it changes (AFP or NFS of another server).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// Option 128: `afp://user:password@10.0.0.5/NetBootClients0`, `nfs:…`.
    pub mount: String,
    /// Option 129, relative to the mount; `{name}` stands for the machine name.
    pub file: String,
}

/// What a Mac is told about the image that it boots.
#[derive(Clone, Copy, Debug)]
pub struct Confirmation<'a> {
    /// The image.
    pub image: ImageId,
    /// The name that the machine is to have.
    pub machine_name: &'a str,
    /// For diskless sets.
    pub shadow: Option<&'a Shadow>,
}

impl Confirmation<'_> {
    /// Option 43 of an ACK\[SELECT\].
    pub fn ack(&self) -> Vec<u8> {
        let mut body = vec![code::MESSAGE_TYPE, 1, MessageType::Select as u8];
        body.extend(self.offer());
        body
    }

    /// Option 43 of an OFFER to a bound client: the same without message type.
    pub fn offer(&self) -> Vec<u8> {
        // 9 bytes of type and image, 65 of the name, 2 times 2 of heads: what is left of 255 bytes holds both paths.
        const NAME: usize = 63;
        const MOUNT: usize = 104;
        const FILE: usize = 73;
        let mut body = vec![code::SELECTED_IMAGE, 4];
        body.extend(self.image.to_bytes());
        let mut add = |code: u8, text: &str| {
            body.extend([code, text.len().try_into().unwrap_or(u8::MAX)]);
            body.extend(text.as_bytes());
        };
        let name = image::cut(self.machine_name, NAME);
        add(code::MACHINE_NAME, name);
        if let Some(Shadow { mount, file }) = self.shadow {
            add(code::SHADOW_MOUNT, image::cut(mount, MOUNT));
            add(code::SHADOW_FILE, image::cut(&file.replace("{name}", name), FILE));
        }
        body
    }
}

/// Option 43 of an ACK\[FAILED\].
pub fn failed() -> Vec<u8> {
    vec![code::MESSAGE_TYPE, 1, MessageType::Failed as u8]
}

#[cfg(test)]
mod vectors;
