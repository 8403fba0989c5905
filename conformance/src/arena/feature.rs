//! What a kernel may lack though it has the links that it belongs to, tried in a scratch namespace.

use std::io;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use serde::{Deserialize, Serialize};

use super::netlink::{Message, NLM_F_ACK, NLM_F_CREATE, Netlink, NetlinkError, attribute};
use super::operate::{IFLA_INFO_DATA, link_body, new_link, of_kind};

const LINK_HEADER: usize = 16;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const NFNL_BATCH_BEGIN: u16 = 0x10;
const NFNL_BATCH_END: u16 = 0x11;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFPROTO_BRIDGE: u8 = 7;

/// A feature of the kernel, by the name that target files have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// The ports of a bridge are members of VLANs.
    BridgeVlans,
    /// Tables of nftables see the frames that pass bridges.
    BridgeNftables,
}

impl Feature {
    /// What a report says that the kernel lacks.
    pub fn describe(self) -> &'static str {
        match self {
            Feature::BridgeVlans => "VLAN filtering on bridges",
            Feature::BridgeNftables => "nftables for bridges",
        }
    }

    /// Whether the kernel has it. The network namespace is one to throw away.
    pub(super) fn probe(self) -> io::Result<bool> {
        match self {
            Feature::BridgeVlans => Ok(makes_filtering_bridge(&mut Netlink::open(NETLINK_ROUTE)?)),
            Feature::BridgeNftables => Ok(Netlink::open(NETLINK_NETFILTER)
                .is_ok_and(|mut netfilter| make_bridge_chain(&mut netfilter).is_ok())),
        }
    }
}

/// A kernel that cannot filter refuses, or passes over the wish: the bridge says whether it does.
fn makes_filtering_bridge(route: &mut Netlink) -> bool {
    let bridge = of_kind(new_link("probe0"), "bridge", |info| {
        info.nest(IFLA_INFO_DATA, |data| data.attribute(IFLA_BR_VLAN_FILTERING, &[1]))
    });
    let look = Message::new(libc::RTM_GETLINK, 0, &link_body(0, 0, 0)).text(libc::IFLA_IFNAME, "probe0");
    let answers = route.request(bridge).and_then(|_| route.request(look)).unwrap_or_default();
    answers.iter().any(|answer| {
        let filtering = || {
            let info = attribute(answer.payload.get(LINK_HEADER..)?, libc::IFLA_LINKINFO)?;
            attribute(attribute(info, IFLA_INFO_DATA)?, IFLA_BR_VLAN_FILTERING)
        };
        filtering() == Some(&[1][..])
    })
}

fn make_bridge_chain(netfilter: &mut Netlink) -> Result<(), NetlinkError> {
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    let change = |kind: u16| {
        let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
        Message::new(kind, NLM_F_CREATE | NLM_F_ACK, &[NFPROTO_BRIDGE, 0, 0, 0]).text(1, "probe")
    };
    // The chain's name, its hook (number and priority) and its type.
    let chain = change(NFT_MSG_NEWCHAIN)
        .text(3, "probe")
        .nest(4, |hook| hook.attribute(1, &[0; 4]).attribute(2, &[0; 4]))
        .text(7, "filter");
    let messages = vec![
        Message::new(NFNL_BATCH_BEGIN, 0, &[0, 0, high, low]),
        change(NFT_MSG_NEWTABLE),
        chain,
        Message::new(NFNL_BATCH_END, 0, &[0, 0, high, low]),
    ];
    netfilter.batch(messages, 2)
}
