//! The operations of the execution protocol.

use crate::Version;

named! {
    /// What a plugin is asked to do: the value of `CNI_COMMAND`.
    Operation("operation") {
        /// Add a container to a network, or apply modifications.
        Add = "ADD",
        /// Remove a container from a network, or undo modifications.
        Del = "DEL",
        /// Verify that an attachment is as its ADD left it.
        Check = "CHECK",
        /// Remove what attachments that are no longer valid left behind.
        Gc = "GC",
        /// Report whether the plugin can serve ADD.
        Status = "STATUS",
        /// Report the supported versions.
        Version = "VERSION",
    }
}

impl Operation {
    /// The first version that defines the operation.
    pub const fn since(self) -> Version {
        match self {
            Operation::Add | Operation::Del => Version::V0_1_0,
            Operation::Version => Version::V0_2_0,
            Operation::Check => Version::V0_4_0,
            Operation::Gc | Operation::Status => Version::V1_1_0,
        }
    }

    /// Whether the operation concerns one attachment: a container and an interface name.
    pub const fn is_attachment(self) -> bool {
        matches!(self, Operation::Add | Operation::Del | Operation::Check)
    }
}
