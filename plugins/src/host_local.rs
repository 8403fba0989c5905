//! `host-local`: IPAM with addresses from ranges, reserved in files of this host.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use cni_spec::error::{INVALID_ENVIRONMENT, IO_FAILURE, UNAVAILABLE};
use cni_spec::result::{AddResult, Dns, Ip, Route};
use ipnet::IpNet;

use crate::fields::{Fields, RequestedIp, invalid, requested};
use crate::ranges::{self, RangeSet};
use crate::refusal::{DIFFERS, EXHAUSTED, EXISTS, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request, io_failure};
use crate::static_ipam::one_per_family;
use crate::store::{Store, StoreError};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "host-local",
    about: "IPAM with addresses from ranges, reserved in files: ipam.ranges [[{subnet, rangeStart, rangeEnd, gateway}]] \
            or these keys in ipam itself, ipam.routes, ipam.resolvConf, ipam.dataDir; runtimeConfig.ipRanges adds \
            ranges; runtimeConfig.ips, args.cni.ips or the CNI_ARGS key IP ask for addresses.",
    add,
    del,
    check,
    gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// Where the directories of the networks are, unless `ipam.dataDir` says otherwise.
const DATA_DIRECTORY: &str = "/var/lib/cni/networks";

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::new(IO_FAILURE, error.to_string())
    }
}

/// What ADD needs to know.
struct Settings {
    sets: Vec<RangeSet>,
    routes: Vec<Route>,
    dns: Option<Dns>,
}

fn ipam<'a>(request: &'a Request) -> Result<Fields<'a>, Refusal> {
    let value = request.fields().get("ipam").ok_or_else(|| invalid("ipam", "missing: add the ranges"))?;
    Fields::at("ipam", value)
}

fn read_settings(request: &Request) -> Result<Settings, Refusal> {
    let ipam = ipam(request)?;
    let passed = request.passed("ipRanges").filter(|(place, _)| place.starts_with("runtimeConfig"));
    let dns = match ipam.string("resolvConf")?.filter(|path| !path.is_empty()) {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| io_failure(format!("ipam.resolvConf: cannot read {path}"), &error))?;
            Some(resolv_conf(&text))
        }
    };
    Ok(Settings { sets: ranges::read(passed.as_ref(), ipam)?, routes: ipam.routes("routes")?, dns })
}

/// The settings in the text of a `resolv.conf`.
fn resolv_conf(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.nameservers.extend(words.next()),
            Some("domain") => dns.domain = words.next(),
            Some("search") => dns.search = words.collect(),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

/// The directory of the network. Its name has been checked, so it is one component.
fn directory(request: &Request) -> Result<PathBuf, Refusal> {
    let configured = ipam(request)?.string("dataDir")?.filter(|path| !path.is_empty());
    Ok(Path::new(configured.unwrap_or(DATA_DIRECTORY)).join(&request.attachment.network))
}

/// The addresses that the runtime asks for; `CNI_ARGS` only counts where nothing newer does
/// (`param.args-superseded-by-args`).
fn asked_for(request: &Request) -> Result<Vec<RequestedIp>, Refusal> {
    let args = request.cni_args(&["IP"])?;
    if let Some((place, value)) = request.passed("ips") {
        return requested(&place, value);
    }
    let texts = args.get("IP").unwrap_or_default().split(',').filter(|text| !text.is_empty());
    let wrong = |text: &str| {
        Refusal::new(INVALID_ENVIRONMENT, format!("CNI_ARGS: IP holds {text:?}: use an address"))
    };
    texts.map(|text| RequestedIp::parse(text).ok_or_else(|| wrong(text))).collect()
}

fn add(request: &Request) -> Outcome {
    let settings = read_settings(request)?;
    if settings.sets.is_empty() {
        return Err(invalid("ipam.ranges", "no range: add at least one"));
    }
    let asked = asked_for(request)?;
    let store = Store::create(&directory(request)?)?;
    let attachment = &request.attachment;
    if store.has_list(attachment) {
        let held = store.of(attachment)?;
        if !held.is_empty() {
            let held = held.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
            let problem = format!("the attachment has {held} already: run DEL before ADD");
            return Err(Refusal::new(EXISTS, problem));
        }
    }
    let ips = choose(&settings.sets, asked, &store)?;
    one_per_family(request, &ips)?;
    let addresses: Vec<IpAddr> = ips.iter().map(|ip| ip.address.addr()).collect();
    let reserved = store.reserve(attachment, &addresses).and_then(|()| {
        addresses.iter().enumerate().try_for_each(|(set, address)| store.set_last(set, *address))
    });
    if let Err(error) = reserved {
        if let Err(second) = store.release(attachment) {
            request.log(second);
        }
        return Err(error.into());
    }
    let result = AddResult { ips, routes: settings.routes, dns: settings.dns, ..AddResult::default() };
    Ok(Answer::Result(Box::new(result)))
}

/// One free address of each set: the one that was asked for, or the next.
fn choose(sets: &[RangeSet], mut asked: Vec<RequestedIp>, store: &Store) -> Result<Vec<Ip>, Refusal> {
    let mut ips = Vec::new();
    for (index, set) in sets.iter().enumerate() {
        let wanted = asked.iter().position(|ip| ranges::offering(set, ip.address).is_some());
        let (address, range) = match wanted.map(|position| asked.remove(position).address) {
            Some(address) if store.is_reserved(address) => {
                let problem = format!("the requested address {address} is in use: ask for another");
                return Err(Refusal::new(EXHAUSTED, problem));
            }
            Some(address) => (address, ranges::offering(set, address)),
            None => ranges::candidates(set, store.last(index))
                .find(|(address, _)| !store.is_reserved(*address))
                .map(|(address, range)| (address, Some(range)))
                .ok_or_else(|| exhausted(set, EXHAUSTED))?,
        };
        let Some(range) = range else { continue };
        let prefix = IpNet::new(address, range.subnet.prefix_len())
            .map_err(|error| invalid("ipam.ranges", error.to_string()))?;
        ips.push(Ip { gateway: Some(range.gateway), ..Ip::new(prefix) });
    }
    match asked.first() {
        None => Ok(ips),
        Some(ip) => {
            let problem = format!("the requested address {} is in no range, or is a gateway", ip.address);
            Err(invalid("ips", problem))
        }
    }
}

fn exhausted(set: &RangeSet, code: u32) -> Refusal {
    let subnets = set.iter().map(|range| range.subnet.to_string()).collect::<Vec<_>>().join(", ");
    Refusal::new(code, format!("no free address in {subnets}: remove attachments or widen the range"))
}

fn del(request: &Request) -> Outcome {
    // A configuration that ADD refused made no reservations.
    let Ok(directory) = directory(request) else { return Ok(Answer::Silence) };
    if let Some(store) = Store::open(&directory, true)? {
        store.release(&request.attachment)?;
    }
    Ok(Answer::Silence)
}

fn check(request: &Request) -> Outcome {
    let expected = request.required_prev_result()?;
    let differs = |problem: String| Err(Refusal::new(DIFFERS, problem));
    let held = match Store::open(&directory(request)?, false)? {
        Some(store) => store.of(&request.attachment)?,
        None => Vec::new(),
    };
    if held.is_empty() {
        return differs("no address is reserved for the attachment".to_owned());
    }
    if let Some(address) = held.iter().find(|held| !expected.ips.iter().any(|ip| ip.address.addr() == **held))
    {
        return differs(format!("prevResult does not have the reserved address {address}"));
    }
    let sets = read_settings(request)?.sets;
    let ours = |address: IpAddr| sets.iter().any(|set| ranges::offering(set, address).is_some());
    match expected
        .ips
        .iter()
        .map(|ip| ip.address.addr())
        .find(|address| ours(*address) && !held.contains(address))
    {
        Some(address) => differs(format!("{address} is in prevResult but not reserved for the attachment")),
        None => Ok(Answer::Silence),
    }
}

fn gc(request: &Request) -> Outcome {
    let valid = request.valid_attachments()?;
    if let Some(store) = Store::open(&directory(request)?, true)? {
        store.release_others(&valid)?;
    }
    Ok(Answer::Silence)
}

/// STATUS has no `runtimeConfig`, so a configuration without ranges may well be complete later.
fn status(request: &Request) -> Outcome {
    let settings = read_settings(request)?;
    let directory = directory(request)?;
    let unavailable = |problem: String| Refusal::new(UNAVAILABLE, problem);
    let store = Store::open(&directory, false).map_err(|error| unavailable(error.to_string()))?;
    let reserved = match store {
        Some(store) => store.addresses().map_err(|error| unavailable(error.to_string()))?,
        None => {
            creatable(&directory).map_err(unavailable)?;
            Vec::new()
        }
    };
    match settings.sets.iter().find(|set| !ranges::has_free(set, &reserved)) {
        Some(set) => Err(exhausted(set, UNAVAILABLE)),
        None => Ok(Answer::Silence),
    }
}

/// Whether a directory could be made: its path is one that can be, and what exists of it is a directory.
fn creatable(directory: &Path) -> Result<(), String> {
    if let Err(error) = directory.metadata()
        && error.kind() == std::io::ErrorKind::InvalidFilename
    {
        return Err(format!("{}: {error}: name another ipam.dataDir", directory.display()));
    }
    if directory.components().any(|component| component == Component::ParentDir) {
        return Ok(());
    }
    match directory.ancestors().find_map(|path| path.metadata().ok().map(|found| (path, found.is_dir()))) {
        Some((path, false)) => Err(format!("{} is no directory: name another ipam.dataDir", path.display())),
        _ => Ok(()),
    }
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    // The file that `resolvConf` names is not of the configuration, and reading one may wait for ever.
    let ipam = ipam(request)?;
    ipam.string("resolvConf")?;
    ipam.string("dataDir")?;
    let passed = request.passed("ipRanges").filter(|(place, _)| place.starts_with("runtimeConfig"));
    let sets = ranges::read(passed.as_ref(), ipam)?;
    ipam.routes("routes")?;
    let asked = asked_for(request)?;
    for set in &sets {
        ranges::has_free(set, &[]);
        // A round as long as the whole IPv6 space has no end to wait for.
        for (candidate, range) in ranges::candidates(set, asked.first().map(|ip| ip.address)).take(300) {
            assert!(range.subnet.contains(&candidate) && range.offers(candidate));
        }
    }
    crate::fuzzing::common(request)
}

/// Reads a `resolv.conf`.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_stored(bytes: &[u8]) {
    let dns = resolv_conf(&String::from_utf8_lossy(bytes));
    assert_eq!(Dns::parse(&dns.to_value()).ok(), Some(dns));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_too_long_a_name_cannot_be_made() {
        let parent = tempfile::tempdir().unwrap();
        creatable(&parent.path().join("x/y")).unwrap();
        let problem = creatable(&parent.path().join("x".repeat(300))).unwrap_err();
        assert!(problem.contains("name another ipam.dataDir"), "{problem}");
    }

    #[test]
    fn resolver_settings_are_read() {
        let dns = resolv_conf(
            "# comment\nnameserver 192.0.2.1\nnameserver\t2001:db8::1\ndomain example.net\nsearch a b\noptions x y\noptions z\nnameserver\n",
        );
        assert_eq!(dns.nameservers, ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(dns.domain.as_deref(), Some("example.net"));
        assert_eq!(dns.search, ["a", "b"]);
        assert_eq!(dns.options, ["x", "y", "z"]);
    }
}
