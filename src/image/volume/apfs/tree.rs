//! B-trees of APFS: object maps, and the file-system trees of volumes (Reference, "B-Trees").
//!
//! | at | a node | | |
//! |---|---|---|---|
//! | 32 | flags u16: 1 root, 2 leaf, 4 keys and values of fixed size, 8 hashed, 16 without head | | |
//! | 36 | keys u32, table of contents: offset u16, length u16 | | |
//! | 56 | table of contents, keys, free room; values from the end (of a root: 40 bytes of facts) backwards | | |
//!
//! An entry of the table is key offset u16 from the end of the table and value offset u16 back from the end, each
//! followed by its length u16 where sizes are not fixed.
//!
//! Owns: nodes, look-ups in object maps, a walk over a tree in order, bounded whatever the nodes say.
//! Must not know: files.

use std::io;
use std::ops::ControlFlow;

use super::object::Container;
use crate::image::field::Fields;

/// Levels of a tree.
const MOST_LEVELS: usize = 12;

/// Nodes of one walk.
const MOST_NODES: usize = 8192;

const TYPE_BTREE: u16 = 2;
const TYPE_BTREE_NODE: u16 = 3;

/// How the nodes of a tree are found.
#[derive(Clone, Copy)]
pub(super) enum Storage {
    /// By address.
    Physical,
    /// By id in the object map with this root, as of a transaction.
    Virtual {
        /// Block of the root of the map.
        map: u64,
        /// The transaction.
        transaction: u64,
    },
}

/// A tree, by the address or id of its root.
#[derive(Clone, Copy)]
pub(super) struct Tree {
    pub root: u64,
    pub storage: Storage,
}

/// What a walk is allowed to look at still.
struct Budget(usize);

impl Tree {
    /// Gives key and value of each record in order, from the first whose key is not `before` what is wanted.
    pub fn scan(
        self,
        container: &mut Container<'_, '_>,
        before: &dyn Fn(Fields<'_>) -> bool,
        visit: &mut dyn FnMut(Fields<'_>, Fields<'_>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut budget = Budget(MOST_NODES);
        self.descend(container, self.root, MOST_LEVELS, &mut budget, before, visit).map(drop)
    }

    fn descend(
        self,
        container: &mut Container<'_, '_>,
        id: u64,
        levels: usize,
        budget: &mut Budget,
        before: &dyn Fn(Fields<'_>) -> bool,
        visit: &mut dyn FnMut(Fields<'_>, Fields<'_>) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        if levels == 0 || budget.0 == 0 {
            return Ok(ControlFlow::Break(()));
        }
        budget.0 -= 1;
        let Some(bytes) = self.node(container, id)? else { return Ok(ControlFlow::Break(())) };
        let node = Node { fields: Fields(&bytes), block: container.block };
        if node.is_leaf() {
            for (key, value) in node.entries(16) {
                if !before(key) && visit(key, value).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            return Ok(ControlFlow::Continue(()));
        }
        // What is wanted may follow the last key that is before it.
        let first = node.entries(8).take_while(|(key, _)| before(*key)).count().saturating_sub(1);
        for (_, child) in node.entries(8).skip(first) {
            if self.descend(container, child.le64(0), levels - 1, budget, before, visit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn node(self, container: &mut Container<'_, '_>, id: u64) -> io::Result<Option<Vec<u8>>> {
        let address = match self.storage {
            Storage::Physical => id,
            Storage::Virtual { map, transaction } => match look_up(container, map, id, transaction)? {
                Some(address) => address,
                None => return Ok(None),
            },
        };
        let node = container.object(address, &[TYPE_BTREE, TYPE_BTREE_NODE])?;
        if node.is_some() {
            return Ok(node);
        }
        // Nodes of a sealed volume have no head: their parent holds a hash of theirs.
        let bytes = container.bytes(address, container.block)?;
        let flags = Fields(&bytes).le16(32);
        let headless =
            bytes.len() == container.block && flags & 16 != 0 && bytes[..32].iter().all(|&b| b == 0);
        Ok(headless.then_some(bytes))
    }
}

/// Where an object map has an object, as of a transaction: the largest key (id, transaction) not above it.
pub(super) fn look_up(
    container: &mut Container<'_, '_>,
    root: u64,
    id: u64,
    transaction: u64,
) -> io::Result<Option<u64>> {
    let mut address = root;
    for _ in 0..MOST_LEVELS {
        let Some(bytes) = container.object(address, &[TYPE_BTREE, TYPE_BTREE_NODE])? else { return Ok(None) };
        let node = Node { fields: Fields(&bytes), block: container.block };
        let order = |key: Fields<'_>| (key.le64(0), key.le64(8));
        let size = if node.is_leaf() { 16 } else { 8 };
        let not_above = node.entries(size).take_while(|(key, _)| order(*key) <= (id, transaction));
        let Some((key, value)) = not_above.last() else { return Ok(None) };
        if node.is_leaf() {
            // Flags u32 (1 deleted), size u32, address u64.
            return Ok((key.le64(0) == id && value.le32(0) & 1 == 0).then(|| value.le64(8)));
        }
        address = value.le64(0);
    }
    Ok(None)
}

struct Node<'a> {
    fields: Fields<'a>,
    block: usize,
}

impl<'a> Node<'a> {
    fn flags(&self) -> u16 {
        self.fields.le16(32)
    }

    fn is_leaf(&self) -> bool {
        self.flags() & 2 != 0
    }

    /// Key and value of each entry. Where sizes are fixed a key has 16 bytes, a value `size`.
    fn entries(&self, size: usize) -> impl Iterator<Item = (Fields<'a>, Fields<'a>)> + use<'a> {
        let (fields, block) = (self.fields, self.block);
        let fixed = self.flags() & 4 != 0;
        let entry = if fixed { 4 } else { 8 };
        let count = (fields.le32(36) as usize).min(block / entry);
        let table = 56 + usize::from(fields.le16(40));
        let keys = table + usize::from(fields.le16(42));
        let end = block - if self.flags() & 1 != 0 { 40 } else { 0 };
        (0..count).map(move |index| {
            let place = |at: usize| usize::from(fields.le16(table + entry * index + at));
            let (key, key_length, back, length) =
                if fixed { (place(0), 16, place(2), size) } else { (place(0), place(2), place(4), place(6)) };
            let value = end.checked_sub(back).map_or(&[][..], |at| fields.bytes(at, length));
            (Fields(fields.bytes(keys + key, key_length)), Fields(value))
        })
    }
}
