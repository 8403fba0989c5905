//! Whom and what a requirement is about.

named! {
    /// Who or what has to fulfil a requirement.
    Party("party") {
        /// The network configuration itself.
        Config = "config",
        /// The runtime.
        Runtime = "runtime",
        /// Every plugin.
        Plugin = "plugin",
        /// A plugin that creates an interface.
        InterfacePlugin = "interface-plugin",
        /// A plugin that adjusts what an earlier plugin of the list made.
        ChainedPlugin = "chained-plugin",
        /// A plugin that executes another plugin.
        DelegatingPlugin = "delegating-plugin",
        /// A delegated plugin that assigns addresses.
        IpamPlugin = "ipam-plugin",
        /// The result document.
        Result = "result",
    }
}

named! {
    /// The part of the protocol that a requirement belongs to.
    Topic("operation") {
        /// The network configuration.
        Config = "config",
        /// Executing plugins.
        Exec = "exec",
        /// Delegation from plugin to plugin.
        Delegation = "delegation",
        /// Results.
        Result = "result",
        /// Errors.
        Error = "error",
        /// The operation ADD.
        Add = "ADD",
        /// The operation DEL.
        Del = "DEL",
        /// The operation CHECK.
        Check = "CHECK",
        /// The operation GC.
        Gc = "GC",
        /// The operation STATUS.
        Status = "STATUS",
        /// The operation VERSION.
        Version = "VERSION",
    }
}
