//! `rootstockd`: the appliance.

fn main() {}
