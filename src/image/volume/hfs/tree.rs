//! B-trees of HFS+: catalog, extents overflow, attributes (TN1150, "B-Trees").
//!
//! | at | every node | | at | node 0, the header |
//! |---|---|---|---|---|
//! | 0 | next node u32 | | 14 | depth u16, root node u32 |
//! | 8 | kind i8: -1 leaf, 0 index, 1 header | | 24 | first leaf u32 |
//! | 9 | height u8, records u16 | | 32 | node size u16 |
//! | 14 | records | | 36 | nodes u32 |
//! | end | where each record begins, u16, backwards | | 51 | order of names u8 |
//!
//! A record is its key (length u16, key), then what belongs to it: in an index node the child u32.
//!
//! Owns: a walk from the first key that is wanted on, bounded in depth, nodes and records, whatever the nodes say.
//! Must not know: what keys mean.

use std::io;
use std::ops::ControlFlow;

use super::fork::Fork;
use crate::image::field::{Fields, Window};

/// Levels of a tree: eight hold more files than a volume can have.
const MOST_LEVELS: usize = 16;

/// Leaves of one walk.
const MOST_LEAVES: usize = 8192;

const LEAF: u8 = 0xff;
const INDEX: u8 = 0;
const HEADER: u8 = 1;

/// A tree in a file.
pub(super) struct Tree {
    fork: Fork,
    node: usize,
    root: u32,
    /// How names are compared: 0xbc byte by byte, 0xcf without regard to case.
    pub order: u8,
}

impl Tree {
    /// The tree in a fork; none where there is no header of one.
    pub fn open(volume: &mut Window<'_>, fork: Fork) -> io::Result<Option<Tree>> {
        let header = fork.read(volume, 0, 106)?;
        let fields = Fields(&header);
        let node = usize::from(fields.be16(32));
        let plausible = fields.u8(8) == HEADER && (512..=32768).contains(&node) && node.is_power_of_two();
        Ok(plausible.then(|| Tree { root: fields.be32(16), order: fields.u8(51), fork, node }))
    }

    /// The fork that holds the tree.
    pub fn fork(&self) -> &Fork {
        &self.fork
    }

    fn node(&self, volume: &mut Window<'_>, number: u32) -> io::Result<Option<Node>> {
        let bytes = self.fork.read(volume, u64::from(number) * self.node as u64, self.node)?;
        Ok((bytes.len() == self.node).then_some(Node { bytes }))
    }

    /// Gives key and record of each leaf record in order, from the first whose key is not `before` what is wanted.
    /// The length of the key (two bytes) is part of the key.
    pub fn scan(
        &self,
        volume: &mut Window<'_>,
        before: &dyn Fn(Fields<'_>) -> bool,
        visit: &mut dyn FnMut(Fields<'_>, Fields<'_>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut number = self.root;
        for _ in 0..MOST_LEVELS {
            let Some(node) = self.node(volume, number).map(|node| node.filter(|_| number != 0))? else {
                return Ok(());
            };
            match node.kind() {
                LEAF => return self.walk(volume, node, before, visit),
                INDEX => {
                    // The last child whose first key is before what is wanted; what is wanted may follow it.
                    let children = node.records().map(|(key, record)| (before(key), record.be32(0)));
                    let mut children = children.peekable();
                    let Some((_, mut child)) = children.peek().copied() else { return Ok(()) };
                    for (is_before, next) in children {
                        if !is_before {
                            break;
                        }
                        child = next;
                    }
                    number = child;
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn walk(
        &self,
        volume: &mut Window<'_>,
        mut node: Node,
        before: &dyn Fn(Fields<'_>) -> bool,
        visit: &mut dyn FnMut(Fields<'_>, Fields<'_>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        for _ in 0..MOST_LEAVES {
            for (key, record) in node.records() {
                if !before(key) && visit(key, record).is_break() {
                    return Ok(());
                }
            }
            let next = Fields(&node.bytes).be32(0);
            node = match self.node(volume, next)? {
                Some(node) if next != 0 && node.kind() == LEAF => node,
                _ => return Ok(()),
            };
        }
        Ok(())
    }
}

/// One node.
struct Node {
    bytes: Vec<u8>,
}

impl Node {
    fn kind(&self) -> u8 {
        Fields(&self.bytes).u8(8)
    }

    /// Key and record of each entry; ones that lie nowhere are left out.
    fn records(&self) -> impl Iterator<Item = (Fields<'_>, Fields<'_>)> {
        let fields = Fields(&self.bytes);
        let size = self.bytes.len();
        let count = usize::from(fields.be16(10)).min((size - 14) / 2);
        let place = move |number: usize| usize::from(fields.be16(size - 2 * (number + 1)));
        (0..count).filter_map(move |number| {
            let (from, to) = (place(number), place(number + 1));
            let entry = self.bytes.get(from..to).filter(|entry| from >= 14 && entry.len() >= 2)?;
            let key = (2 + usize::from(Fields(entry).be16(0))).next_multiple_of(2);
            let (key, record) = entry.split_at_checked(key)?;
            Some((Fields(key), Fields(record)))
        })
    }
}
