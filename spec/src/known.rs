//! The released versions of the specification.

named! {
    /// A released version of the CNI specification.
    Version("CNI version") {
        /// 0.1.0, 2016: ADD and DEL, results with `ip4` and `ip6`.
        V0_1_0 = "0.1.0",
        /// 0.2.0, 2017: VERSION and `args`.
        V0_2_0 = "0.2.0",
        /// 0.3.0, 2017: lists, chaining, `interfaces`.
        V0_3_0 = "0.3.0",
        /// 0.3.1, 2017: the address list is called `ips`.
        V0_3_1 = "0.3.1",
        /// 0.4.0, 2019: CHECK.
        V0_4_0 = "0.4.0",
        /// 1.0.0, 2021: rewritten; single-plugin configurations and `ips[].version` are gone.
        V1_0_0 = "1.0.0",
        /// 1.1.0, 2024: GC, STATUS and `cniVersions`.
        V1_1_0 = "1.1.0",
    }
}

impl Version {
    /// The newest released version.
    pub const LATEST: Version = Version::V1_1_0;
}
