//! What the kernel and the agent of an arena say. Names, comments and rules in it are whatever a plugin made them.

/// A namespace as rtnetlink and nfnetlink tell it: links, addresses, routes, rules, neighbours, traffic, nftables.
pub fn namespace(bytes: &[u8]) {
    cnitest::fuzzing::namespace(bytes);
}

/// Tables of legacy iptables.
pub fn iptables(bytes: &[u8]) {
    cnitest::fuzzing::iptables(bytes);
}

/// Expressions of a rule, and values of sets, of nftables.
pub fn nftables(bytes: &[u8]) {
    cnitest::fuzzing::rule(bytes);
}

/// Files in which plugins that were built with coverage write their counters.
pub fn counters(bytes: &[u8]) {
    cnitest::fuzzing::counters(bytes);
}

/// Messages of the control socket.
pub fn control(bytes: &[u8]) {
    cnitest::fuzzing::control(bytes);
}
