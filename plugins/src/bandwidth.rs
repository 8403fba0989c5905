//! `bandwidth`: limits what the container gets and sends, with token buckets on the host.
//!
//! What it gets is limited where the host's end of its veth pair sends it. What it sends is redirected there to an ifb device, and
//! limited where that sends it. The device has a name derived from the attachment, the bucket a handle, the filter a cookie, so DEL
//! finds what is its own, whatever else there is. Where only some destinations are limited, classes take the bucket's place.

use cni_spec::result::{AddResult, Interface, parse_prefix};
use ipnet::IpNet;
use serde_json::Value;
use sha2::{Digest, Sha512};

use crate::attachment::Attachment;
use crate::fields::{Fields, Place, invalid};
use crate::netlink::htb::{self, Shaped};
use crate::netlink::link::{self, Link};
use crate::netlink::qdisc::{self, Bucket, Shaper};
use crate::netlink::{Socket, Step};
use crate::refusal::{DIFFERS, EXISTS, KERNEL, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request};
use crate::veth::{differs, other_end, remove_links};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "bandwidth",
    about: "a chained plugin that limits the container's traffic: ingressRate, ingressBurst, egressRate, egressBurst in bits, \
            or runtimeConfig.bandwidth; shapedSubnets or unshapedSubnets.",
    add,
    del,
    check,
    gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// What the alias of an ifb device begins with; the attachment's label follows.
const ALIAS: &str = "cni-reference-bandwidth:";
/// The keys of rates and bursts.
const KEYS: [&str; 4] = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"];
/// The keys of the destinations that are limited, or are not.
const SHAPED: &str = "shapedSubnets";
const UNSHAPED: &str = "unshapedSubnets";

/// The plugin's configuration. Ingress is what the container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    ingress: Option<Bucket>,
    egress: Option<Bucket>,
    shaped: Shaped,
}

impl Settings {
    fn read(fields: Fields<'_>) -> Result<Settings, Refusal> {
        let configured = shaped(fields)?;
        // The rates of the configuration go before those of the runtime, as a whole.
        if KEYS.iter().any(|key| fields.get(key).is_some()) {
            return Settings::of(fields, configured);
        }
        let passed = match fields.get("runtimeConfig") {
            Some(runtime) => Fields::at("runtimeConfig", runtime)?.get("bandwidth"),
            None => None,
        };
        match passed {
            None => Ok(Settings { ingress: None, egress: None, shaped: configured.unwrap_or(Shaped::All) }),
            Some(rates) => {
                let fields = Fields::at("runtimeConfig.bandwidth", rates)?;
                Settings::of(fields, shaped(fields)?.or(configured))
            }
        }
    }

    fn of(fields: Fields<'_>, shaped: Option<Shaped>) -> Result<Settings, Refusal> {
        Ok(Settings {
            ingress: bucket(fields, "ingressRate", "ingressBurst")?,
            egress: bucket(fields, "egressRate", "egressBurst")?,
            shaped: shaped.unwrap_or(Shaped::All),
        })
    }

    fn is_unlimited(&self) -> bool {
        self.ingress.is_none() && self.egress.is_none()
    }
}

/// Which destinations are limited; `None` where nothing is said of that.
fn shaped(fields: Fields<'_>) -> Result<Option<Shaped>, Refusal> {
    let subnets = |key: &str| {
        let read = |(place, item): (Place, &Value)| {
            let subnet = item.as_str().and_then(parse_prefix);
            subnet
                .map(|subnet| subnet.trunc())
                .ok_or_else(|| invalid(&place, format!("found {item}, use a subnet like \"10.1.0.0/16\"")))
        };
        let mut all = fields.elements(key)?.into_iter().map(read).collect::<Result<Vec<IpNet>, _>>()?;
        all.sort();
        all.dedup();
        Ok::<_, Refusal>(all)
    };
    match (subnets(SHAPED)?, subnets(UNSHAPED)?) {
        (shaped, unshaped) if shaped.is_empty() && unshaped.is_empty() => Ok(None),
        (shaped, unshaped) if unshaped.is_empty() => Ok(Some(Shaped::Only(shaped))),
        (shaped, unshaped) if shaped.is_empty() => Ok(Some(Shaped::AllBut(unshaped))),
        _ => Err(invalid(&fields.place(UNSHAPED), format!("{SHAPED} is there too: remove one of them"))),
    }
}

/// A rate and a burst in bits; both or neither are zero or absent.
fn bucket(fields: Fields<'_>, rate: &str, burst: &str) -> Result<Option<Bucket>, Refusal> {
    let number = |key: &str| match fields.get(key) {
        None => Ok(0),
        Some(value) => value.as_u64().ok_or_else(|| {
            invalid(&fields.place(key), format!("found {value}, use an integer of 0 or more"))
        }),
    };
    let (bits, burst_bits) = (number(rate)?, number(burst)?);
    match (bits, burst_bits) {
        (0, 0) => Ok(None),
        (0, _) => Err(invalid(&fields.place(rate), format!("missing: {burst} needs it"))),
        (_, 0) => Err(invalid(&fields.place(burst), format!("missing: {rate} needs it"))),
        (1..8, _) => Err(invalid(&fields.place(rate), format!("found {bits}, use at least 8"))),
        (_, 1..8) => Err(invalid(&fields.place(burst), format!("found {burst_bits}, use at least 8"))),
        _ => {
            let bytes = u32::try_from(burst_bits / 8).ok().filter(|bytes| *bytes < u32::MAX);
            let burst = bytes.ok_or_else(|| {
                invalid(&fields.place(burst), format!("found {burst_bits}, use at most 34359738359"))
            })?;
            Ok(Some(Bucket { rate: bits / 8, burst }))
        }
    }
}

/// The name of the ifb device.
fn device(attachment: &Attachment) -> String {
    format!("bwp{}", attachment.digest(12))
}

/// The name that the Go plugin gives the ifb device of a container.
fn device_of_go(attachment: &Attachment) -> String {
    let digest = Sha512::digest(format!("{}{}", attachment.network, attachment.container));
    let start: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("bwp{start}")
}

/// The handle of the bucket on the host's end of the pair: not one that people write, nor one that the kernel chooses.
fn handle(attachment: &Attachment) -> u32 {
    let [first, second, ..] = attachment.identity();
    let major = 0x1000 + u32::from(u16::from_be_bytes([first, second])) % 0x7000;
    major << 16
}

/// The handle of the bucket on the ifb device, where there is nobody else.
const DEVICE_HANDLE: u32 = 0x0001_0000;

/// The host's end of the container's interface, which has to be in the result.
fn host_end(request: &Request, result: &AddResult, host: &mut Socket) -> Result<Link, Refusal> {
    let ifname = &request.attachment.ifname;
    let link = pair(request, host)?.ok_or_else(|| {
        let problem = format!("{ifname} (CNI_IFNAME) is no veth device whose other end is on the host");
        Refusal::new(KERNEL, format!("{problem}: put the plugin behind bridge or ptp"))
    })?;
    let is_listed =
        |one: &Interface| one.name == link.name && one.sandbox.as_deref().unwrap_or_default().is_empty();
    match result.interfaces.iter().any(is_listed) {
        true => Ok(link),
        false => {
            let problem = format!("prevResult does not list {}, the host's end of {ifname}", link.name);
            Err(invalid("prevResult.interfaces", problem))
        }
    }
}

/// The host's end of the container's interface, if that is a veth device and its other end is here.
fn pair(request: &Request, host: &mut Socket) -> Result<Option<Link>, Refusal> {
    let ifname = &request.attachment.ifname;
    let Some(netns) = request.netns().ok().map(|netns| netns.run(Socket::route)) else { return Ok(None) };
    other_end(host, &mut netns??, ifname)
}

fn add(request: &Request) -> Outcome {
    let settings = Settings::read(request.fields())?;
    let previous = request.result_of_others()?;
    let mut result = previous.clone();
    if !settings.is_unlimited() {
        let mut host = Socket::route()?;
        let link = host_end(request, previous, &mut host)?;
        refuse_second(request, &mut host, &link)?;
        match limit(request, &settings, &mut host, &link) {
            Ok(device) => result.interfaces.extend(device),
            Err(error) => {
                if error.code != EXISTS
                    && let Err(error) = remove(request, &mut host, vec![link])
                {
                    request.log(format_args!("undoing the ADD: {error}"));
                }
                return Err(error);
            }
        }
    }
    Ok(Answer::Result(Box::new(result)))
}

/// Refuses an attachment that has limits, before anything that it has is touched.
fn refuse_second(request: &Request, host: &mut Socket, link: &Link) -> Result<(), Refusal> {
    let attachment = &request.attachment;
    let has_bucket = host.qdisc(link.index)?.is_some_and(|found| found.handle == handle(attachment));
    if has_bucket || host.link(&device(attachment))?.is_some() {
        return Err(Refusal::new(EXISTS, "the attachment's traffic is limited already: run DEL first"));
    }
    Ok(())
}

/// Sets the limits. Answers the device that it made for what the container sends.
fn limit(
    request: &Request,
    settings: &Settings,
    host: &mut Socket,
    link: &Link,
) -> Result<Option<Interface>, Refusal> {
    let attachment = &request.attachment;
    let mut made = None;
    if let Some(bucket) = settings.egress {
        let name = device(attachment);
        let alias = format!("{ALIAS}{}", attachment.label());
        // The device comes with its mark: nobody can kill the plugin between.
        host.apply(vec![qdisc::new_ifb(&name, link.mtu), link::set_alias(&name, &alias)]).map_err(
            |error| match error.is(libc::EEXIST) {
                true => Refusal::new(EXISTS, format!("{error}: another ADD of the attachment is at work")),
                false => error.into(),
            },
        )?;
        let device = host
            .link(&name)?
            .ok_or_else(|| Refusal::new(KERNEL, format!("{name} has vanished from the host")))?;
        shape(host, &device, DEVICE_HANDLE, bucket, &settings.shaped)?;
        if host.has_ingress(link.index)? {
            return Err(Refusal::new(KERNEL, format!("somebody filters what {} gets already", link.name)));
        }
        // The filter is what the qdisc is known by, so both at once.
        host.apply(vec![
            qdisc::add_ingress(&link.name, link.index),
            qdisc::add_redirect(&link.name, link.index, device.index, &attachment.identity()),
        ])?;
        made = Some(Interface {
            name: device.name,
            mac: Some(device.mac).filter(|mac| !mac.is_empty()),
            ..Interface::default()
        });
    }
    if let Some(bucket) = settings.ingress {
        shape(host, link, handle(attachment), bucket, &settings.shaped)?;
    }
    Ok(made)
}

/// Limits what a link sends.
fn shape(
    host: &mut Socket,
    link: &Link,
    handle: u32,
    bucket: Bucket,
    shaped: &Shaped,
) -> Result<(), Refusal> {
    let (name, index) = (&link.name, link.index);
    let first = match shaped {
        Shaped::All => qdisc::add_bucket(name, index, handle, bucket),
        _ => htb::add_classes(name, index, handle, shaped),
    };
    host.apply(vec![first]).map_err(|error| match error.is(libc::EEXIST) {
        true => Refusal::new(KERNEL, format!("{error}: somebody limits what {name} sends")),
        false => error.into(),
    })?;
    if *shaped != Shaped::All {
        host.apply(htb::fill_classes(name, index, handle, bucket, shaped))?;
    }
    Ok(())
}

/// Removes what the attachment has on these links of the host, and its device.
fn remove(request: &Request, host: &mut Socket, links: Vec<Link>) -> Result<(), Refusal> {
    let attachment = &request.attachment;
    let mut steps: Vec<Step> = Vec::new();
    for link in &links {
        let filters = host.filters(link.index)?;
        let is_own = |cookie: &[u8]| cookie == attachment.identity();
        let (own, others): (Vec<_>, Vec<_>) =
            filters.redirects.iter().partition(|redirect| is_own(&redirect.cookie));
        if own.is_empty() {
            // Not this attachment's.
        } else if others.is_empty() && filters.others == 0 {
            // It made this too; its filters go with it.
            steps.push(qdisc::remove_ingress(&link.name, link.index));
        } else {
            steps.extend(own.into_iter().map(|one| qdisc::remove_redirect(&link.name, link.index, one)));
        }
        if host
            .qdisc(link.index)?
            .is_some_and(|found| found.handle == handle(attachment) && found.shaper != Shaper::Other)
        {
            steps.push(qdisc::remove_shaper(&link.name, link.index, handle(attachment)));
        }
    }
    host.apply(steps)?;
    let name = device(attachment);
    if host.link(&name)?.is_some_and(|link| link.kind == "ifb") {
        host.delete_link(&name)?;
    }
    Ok(())
}

fn del(request: &Request) -> Outcome {
    let mut host = Socket::route()?;
    let mut links: Vec<Link> = Vec::new();
    if let Some(netns) = request.netns_if_any() {
        let mut container = netns.run(Socket::route)??;
        links.extend(other_end(&mut host, &mut container, &request.attachment.ifname)?);
    }
    // The container's namespace may be gone, or the interface have another name in it.
    let listed = request.prev_result.iter().flat_map(|previous| &previous.interfaces);
    for interface in listed.filter(|one| one.sandbox.as_deref().unwrap_or_default().is_empty()) {
        if let Some(link) = host.link(&interface.name)?
            && !links.iter().any(|other| other.index == link.index)
        {
            links.push(link);
        }
    }
    let go = device_of_go(&request.attachment);
    let of_go = links.iter().find(|link| link.kind == "ifb" && link.name == go).map(|link| link.index);
    remove(request, &mut host, links)?;
    if let Some(index) = of_go {
        host.delete_link_at(index)?;
    }
    Ok(Answer::Silence)
}

fn check(request: &Request) -> Outcome {
    let settings = Settings::read(request.fields())?;
    let expected = request.required_prev_result()?;
    if settings.is_unlimited() {
        return Ok(Answer::Silence);
    }
    let mut host = Socket::route()?;
    let link =
        host_end(request, expected, &mut host).map_err(|error| Refusal::new(DIFFERS, error.msg.clone()))?;
    if let Some(bucket) = settings.ingress {
        require(&mut host, &link, bucket, &settings.shaped)?;
    }
    if let Some(bucket) = settings.egress {
        let name = device(&request.attachment);
        let Some(device) = host.link(&name)?.filter(|device| device.kind == "ifb" && device.up) else {
            return differs(format!("the host has no device {name} that is up"));
        };
        require(&mut host, &device, bucket, &settings.shaped)?;
        let redirects = host.filters(link.index)?.redirects;
        if !redirects.iter().any(|redirect| redirect.to == device.index) {
            return differs(format!("what {} gets is not redirected to {name}", link.name));
        }
    }
    Ok(Answer::Silence)
}

/// Requires a limit of what a link sends.
fn require(host: &mut Socket, link: &Link, bucket: Bucket, shaped: &Shaped) -> Result<(), Refusal> {
    let found = host.qdisc(link.index)?;
    let problem = match (shaped, found.map(|found| (found.handle, found.shaper))) {
        (Shaped::All, Some((_, Shaper::Bucket(found)))) => {
            let (is, should_be) = (found.rate.saturating_mul(8), bucket.rate.saturating_mul(8));
            let problem = format!("sends up to {is} bit/s, not {should_be}, or another burst");
            (!bucket.is_served_by(&found)).then_some(problem)
        }
        (Shaped::Only(_) | Shaped::AllBut(_), Some((handle, Shaper::Classes(default)))) => {
            host.missing_class(link.index, (handle, default), bucket, shaped)?
        }
        _ => return differs(format!("nothing limits what {} sends", link.name)),
    };
    problem.map_or(Ok(()), |problem| differs(format!("{} {problem}", link.name)))
}

/// Devices of the network that belong to no valid attachment go. What limits the other ends goes with these.
fn gc(request: &Request) -> Outcome {
    let is_stale = request.stale_labels()?;
    remove_links(|link| link.kind == "ifb" && link.alias.strip_prefix(ALIAS).is_some_and(&is_stale))?;
    Ok(Answer::Silence)
}

fn status(request: &Request) -> Outcome {
    Settings::read(request.fields())?;
    Ok(Answer::Silence)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    Settings::read(request.fields())?;
    crate::fuzzing::common(request)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use cni_spec::error::INVALID_CONFIGURATION;

    use super::*;

    fn settings(config: Value) -> Result<Settings, Refusal> {
        let config = config.as_object().cloned().unwrap_or_default();
        Settings::read(Fields::root(&config))
    }

    #[test]
    fn the_device_of_the_go_plugin_has_its_name() {
        // As containernetworking/plugins 1.9.1 named it.
        let attachment = Attachment {
            network: "cnitest-net".into(),
            container: "cnitest-c5".into(),
            ifname: "eth0".into(),
        };
        assert_eq!(device_of_go(&attachment), "bwp9d54bde48f8e");
    }

    #[test]
    fn the_configuration_goes_before_the_runtime() {
        let runtime = json!({"bandwidth": {"IngressRate": 8000, "ingressburst": 80}});
        let limited = |rate, burst| Some(Bucket { rate, burst });
        assert_eq!(
            settings(json!({"runtimeConfig": runtime})).unwrap(),
            Settings { ingress: limited(1000, 10), egress: None, shaped: Shaped::All }
        );
        assert_eq!(
            settings(json!({"runtimeConfig": runtime, "egressRate": 16, "egressBurst": 8})).unwrap(),
            Settings { ingress: None, egress: limited(2, 1), shaped: Shaped::All }
        );
        let zero = json!({"runtimeConfig": runtime, "egressRate": 0, "shapedSubnets": []});
        assert!(settings(zero).unwrap().is_unlimited());
    }

    #[test]
    fn a_rate_needs_its_burst() {
        for (config, code) in [
            (json!({"ingressRate": 8000}), INVALID_CONFIGURATION),
            (json!({"egressBurst": 8000}), INVALID_CONFIGURATION),
            (json!({"egressBurst": 8000, "egressRate": 7}), INVALID_CONFIGURATION),
            (json!({"egressBurst": 7, "egressRate": 8000}), INVALID_CONFIGURATION),
            (json!({"egressBurst": 34_359_738_360_u64, "egressRate": 8000}), INVALID_CONFIGURATION),
            (json!({"egressBurst": "8", "egressRate": 8000}), INVALID_CONFIGURATION),
            (json!({"egressBurst": -8, "egressRate": 8000}), INVALID_CONFIGURATION),
            (json!({"runtimeConfig": {"bandwidth": 5}}), INVALID_CONFIGURATION),
            (
                json!({"shapedSubnets": ["10.0.0.0/8"], "unshapedSubnets": ["fd00::/8"]}),
                INVALID_CONFIGURATION,
            ),
            (json!({"shapedSubnets": ["10.0.0.1"]}), INVALID_CONFIGURATION),
            (json!({"unshapedSubnets": [7]}), INVALID_CONFIGURATION),
            (json!({"unshapedSubnets": "10.0.0.0/8"}), INVALID_CONFIGURATION),
            (json!({"runtimeConfig": {"bandwidth": {"shapedSubnets": ["hello"]}}}), INVALID_CONFIGURATION),
        ] {
            assert_eq!(settings(config.clone()).unwrap_err().code, code, "{config}");
        }
        let most = settings(json!({"egressBurst": 34_359_738_359_u64, "egressRate": u64::MAX})).unwrap();
        assert_eq!(most.egress.map(|bucket| bucket.burst), Some(u32::MAX - 1));
    }

    #[test]
    fn subnets_of_the_configuration_hold_for_the_rates_of_the_runtime() {
        let subnets = |text: &str| vec![text.parse().unwrap()];
        let read = |own: &str, bandwidth: Value| {
            settings(json!({own: ["10.1.2.3/8", "10.0.0.0/8"], "runtimeConfig": {"bandwidth": bandwidth}}))
                .unwrap()
                .shaped
        };
        let rates = json!({"ingressRate": 8, "ingressBurst": 8});
        assert_eq!(read("shapedSubnets", rates.clone()), Shaped::Only(subnets("10.0.0.0/8")));
        assert_eq!(read("unshapedSubnets", rates), Shaped::AllBut(subnets("10.0.0.0/8")));
        let passed = json!({"ingressRate": 8, "ingressBurst": 8, "ShapedSubnets": ["fd00::/8"]});
        assert_eq!(read("unshapedSubnets", passed), Shaped::Only(subnets("fd00::/8")));
    }

    #[test]
    fn names_and_handles_follow_from_the_attachment() {
        let attachment =
            |ifname: &str| Attachment { network: "n".into(), container: "c".into(), ifname: ifname.into() };
        let (one, two) = (attachment("eth0"), attachment("eth1"));
        assert_ne!(device(&one), device(&two));
        assert_eq!(device(&one).len(), 15);
        for attachment in [one, two] {
            let major = handle(&attachment) >> 16;
            assert!((0x1000..0x8000).contains(&major) && handle(&attachment) & 0xffff == 0);
        }
    }
}
