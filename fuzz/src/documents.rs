//! The schemas: validator, generator and mutator, and whether the typed parsers agree with them.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use cni_schemas::generate::{Generator, Source};
use cni_schemas::mutate::text::{Kind as TextKind, Meaning};
use cni_schemas::mutate::{Mutator, environment};
use cni_schemas::{Composed, Kind, PluginSchema, Profile, Violation, infer, validate};
use cni_spec::config::{NetworkList, PluginConfig};
use cni_spec::error::{CniError, FIRST_PLUGIN_SPECIFIC, well_known};
use cni_spec::parameters::{self, Parameters, Problem};
use cni_spec::result::{AddResult, Dns, VersionResult};
use cni_spec::version::AnyVersion;
use cni_spec::{DocumentError, Operation, Version, keys};
use serde_json::Value;

use crate::Bytes;

/// A schema, made once: compiling takes longer than a thousand documents.
pub(crate) struct Schema {
    pub(crate) composed: Composed,
    pub(crate) generator: Generator,
    mutator: OnceCell<Mutator>,
}

impl Schema {
    fn mutator(&self) -> &Mutator {
        // As slow to make as the generator, and not everybody needs one.
        self.mutator.get_or_init(|| Mutator::new(&self.composed).expect("our own schemas are understood"))
    }
}

/// Joined with the keys of these plugins.
const PLUGINS: [&[&str]; 6] =
    [&[], &["bridge", "host-local"], &["portmap"], &["tuning"], &["firewall"], &["ptp", "static"]];

type Name = (Kind, Version, Profile, Vec<&'static str>);

/// `None` where the version has no such document, or the document no place for plugins' keys.
pub(crate) fn schema(
    kind: Kind,
    version: Version,
    profile: Profile,
    plugins: &[&'static str],
) -> Option<Rc<Schema>> {
    thread_local! {
        static MADE: RefCell<HashMap<Name, Option<Rc<Schema>>>> = RefCell::default();
    }
    let name = (kind, version, profile, plugins.to_vec());
    if let Some(made) = MADE.with_borrow(|all| all.get(&name).cloned()) {
        return made;
    }
    let make = || {
        let own: Vec<PluginSchema> = plugins.iter().filter_map(|name| PluginSchema::known(name)).collect();
        let composed = Composed::compose(kind, version, profile, &own).ok()?;
        let generator = composed.generator().expect("our own schemas are understood");
        Some(Rc::new(Schema { composed, generator, mutator: OnceCell::new() }))
    };
    let made = make();
    MADE.with_borrow_mut(|all| all.insert(name, made.clone()));
    made
}

/// The schema that the first bytes choose, and how large documents are.
fn chosen(bytes: &mut Bytes<'_>) -> Option<(Rc<Schema>, usize)> {
    let (kind, version) = (bytes.choose(&Kind::ALL), bytes.version());
    let (profile, plugins) = (bytes.choose(&Profile::ALL), bytes.choose(&PLUGINS));
    Some((schema(kind, version, profile, plugins)?, bytes.below(9) as usize))
}

fn messages(violations: &[Violation]) -> Vec<&str> {
    violations.iter().map(|violation| violation.message.as_str()).collect()
}

/// Any document, as anything: strict rejects what compat rejects, and every violation names a requirement and a place.
pub fn schemas(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let kind = bytes.choose(&Kind::ALL);
    let Ok(value) = serde_json::from_slice::<Value>(bytes.rest()) else { return };
    for version in Version::ALL {
        let [compat, strict] = Profile::ALL.map(|profile| validate(kind, version, profile, &value));
        let (Ok(compat), Ok(strict)) = (compat, strict) else {
            assert!(!kind.defined_in(version));
            continue;
        };
        assert!(compat.is_empty() || !strict.is_empty(), "strict accepts what compat rejects");
        for violation in compat.iter().chain(&strict) {
            assert!(violation.requirement.is_some(), "{violation:?}");
            assert!(!violation.message.contains('\n'), "{violation:?}");
            assert!(violation.keyword != "schema", "no constraint of ours: {violation:?}");
        }
    }
    let _ = infer(&value);
}

/// Whatever the decisions are, the document validates, and the same decisions make the same one. Compat accepts what is
/// made after strict, and text loses nothing.
pub fn generate(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let Some((schema, size)) = chosen(&mut bytes) else { return };
    let document = schema.generator.generate(&mut bytes.clone(), size);
    let violations = schema.composed.validate(&document);
    assert!(violations.is_empty(), "{:?}: {document}: {:?}", schema.composed, messages(&violations));
    assert_eq!(schema.generator.generate(&mut bytes, size), document);
    let (kind, version) = (schema.composed.kind(), schema.composed.version());
    let compat = validate(kind, version, Profile::Compat, &document).expect("defined");
    assert!(compat.is_empty(), "{document}: {:?}", messages(&compat));
    let text = document.to_string();
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), document);
}

/// A mutation breaks the constraint that it names, at the place that it names, and no other.
pub fn mutate(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let Some((schema, size)) = chosen(&mut bytes) else { return };
    let constraints = schema.composed.constraints();
    let site = bytes.below(constraints.len() as u32) as usize;
    let document = schema.generator.generate(&mut bytes, size);
    let Ok(mutation) = schema.mutator().mutate(&document, site, &mut bytes) else { return };
    assert_ne!(mutation.document, document);
    assert_eq!(mutation.keyword, constraints[site].keyword);
    let violations = schema.composed.validate(&mutation.document);
    let [only] = violations.as_slice() else { panic!("{mutation:?} breaks {:?}", messages(&violations)) };
    assert_eq!(
        (&only.schema_path, &only.instance_path, only.requirement, only.code),
        (&mutation.schema_path, &mutation.instance_path, mutation.requirement, mutation.code)
    );
    assert!(mutation.plugin_own || mutation.requirement.is_some(), "{mutation:?}");
    let at = mutation.document.pointer(&mutation.instance_path);
    assert!(at.is_some(), "{mutation:?}: there is nothing at {:?}", mutation.instance_path);
}

/// Changes of the encoded text are JSON or not, as they say; changes of the environment break the rule that they name.
pub fn text(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let (kind, operation) = (bytes.choose(&TextKind::ALL), bytes.choose(&Operation::ALL));
    let Some((schema, size)) = chosen(&mut bytes) else { return };
    broken_environment(operation, schema.composed.version());
    let document = schema.generator.generate(&mut bytes, size);
    let Some(changed) = kind.apply(&document, &mut bytes) else { return };
    let read = serde_json::from_slice::<Value>(&changed);
    match kind.meaning() {
        Meaning::NotJson => assert!(read.is_err(), "{}: {}", kind.as_str(), changed.escape_ascii()),
        // What a reader may do with it is its own affair.
        Meaning::Unclear => assert!(changed != document.to_string().into_bytes()),
    }
}

fn broken_environment(operation: Operation, version: Version) {
    if operation.since() > version {
        return;
    }
    let good = Parameters::from_pairs([
        ("CNI_COMMAND", operation.as_str()),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/c1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
    ]);
    assert_eq!(good.validate(version), Ok(operation));
    for mutation in environment::mutations(operation, version) {
        let broken = mutation.apply(&good).validate(version);
        assert!(broken.is_err(), "{operation} {version}: {mutation:?} breaks nothing");
    }
}

/// The typed parsers and the schemas agree on what is valid. The document is made by the generator, possibly with one
/// constraint broken, or is the text that follows.
pub fn agreement(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let (kind, version) = (bytes.choose(&Kind::ALL), bytes.version());
    let way = bytes.below(4);
    if way == 3 {
        if let Ok(document) = serde_json::from_slice(bytes.rest()) {
            agree(kind, version, &document);
        }
        return;
    }
    let profile = bytes.choose(&Profile::ALL);
    let Some(schema) = schema(kind, version, profile, &[]) else { return };
    let (size, site) =
        (bytes.below(9) as usize, bytes.below(schema.composed.constraints().len() as u32) as usize);
    let document = schema.generator.generate(&mut bytes, size);
    agree(kind, version, &document);
    if way > 0
        && let Ok(mutation) = schema.mutator().mutate(&document, site, &mut bytes)
    {
        agree(kind, version, &mutation.document);
    }
}

fn agree(kind: Kind, version: Version, document: &Value) {
    let Ok(violations) = validate(kind, version, Profile::Compat, document) else { return };
    // A label of another version has the document read as one of that.
    let label = document.get(keys::CNI_VERSION).and_then(Value::as_str).filter(|text| !text.is_empty());
    // An empty one is none to the types.
    let is_empty = document.get(keys::CNI_VERSION).is_some_and(|label| label == "");
    let of_other = label.is_some_and(|label| label != version.as_str()) || is_empty;
    let configuration = matches!(kind, Kind::ConfigList | Kind::ConfigSingle);
    // A configuration without label is one of 0.1.0, and may offer others that this version knows nothing of.
    let may_be = configuration
        && (label.is_none() && version > Version::V0_1_0 || document.get(keys::CNI_VERSIONS).is_some());
    if of_other || may_be {
        return;
    }
    let Some(typed) = typed(kind, version, document) else { return };
    match &typed {
        Err(problem) if is_number_of_another_form(problem) || is_read_in_any_version(problem) => {}
        Ok(()) => assert!(
            violations.iter().all(|violation| is_tolerated(kind, violation, document)),
            "{kind} {version}: the types accept what the schema rejects: {:?}: {document}",
            messages(&violations)
        ),
        Err(problem) => assert!(
            !violations.is_empty(),
            "{kind} {version}: the types reject what the schema accepts: {problem}: {document}"
        ),
    }
}

/// What `AddResult::parse` says that it tolerates, because widespread plugins print it.
fn is_tolerated(kind: Kind, violation: &Violation, document: &Value) -> bool {
    let value = document.pointer(&violation.instance_path);
    let (_, last) = violation.instance_path.rsplit_once('/').unwrap_or_default();
    let empty_gateway = ["gateway", "gw"].contains(&last) && value.and_then(Value::as_str) == Some("");
    let no_family = violation.keyword == "required" && violation.message == "\"version\" is missing";
    let no_interface = last == "interface" && value.and_then(Value::as_i64) == Some(-1);
    let flag = FLAGS.contains(&last)
        && value
            .and_then(Value::as_str)
            .is_some_and(|text| ["true", "false"].contains(&text.to_lowercase().as_str()));
    match kind {
        Kind::ResultAdd | Kind::ResultIpam => empty_gateway || no_family || no_interface,
        // `NetworkList::parse_list` says this.
        _ => flag,
    }
}

/// The switches of a network.
const FLAGS: [&str; 3] = [keys::DISABLE_CHECK, keys::DISABLE_GC, keys::LOAD_ONLY_INLINED_PLUGINS];

/// Versions that do not define a switch have it as a key like any other. Readers do not look at the version before that.
fn is_read_in_any_version(problem: &str) -> bool {
    FLAGS.iter().any(|flag| problem.contains(&format!(" at /{flag}: ")))
}

/// To a schema 1500.0 is an integer, and integers have no end. The types hold 32 bits, or 64 for an index, and want them
/// written as integers, as all readers in use do.
fn is_number_of_another_form(problem: &str) -> bool {
    let found = problem.split_once("found ").and_then(|(_, rest)| rest.split_once(", use an in"));
    found.is_some_and(|(number, _)| {
        number.parse::<u32>().is_err()
            && number.parse::<f64>().is_ok_and(|number| number.fract() == 0.0 || number.is_infinite())
    })
}

/// What the typed protocol says of a document; `None` for a kind that it has no type for.
fn typed(kind: Kind, version: Version, document: &Value) -> Option<Result<(), String>> {
    let text = |error: DocumentError| error.to_string();
    Some(match kind {
        Kind::ResultAdd => add_result(version, document),
        Kind::ResultIpam => ipam_result(version, document),
        Kind::ResultVersion => version_result(document),
        Kind::Error => CniError::parse(document).map_err(text).and_then(|error| code(error.code)),
        Kind::ConfigList => list(version, NetworkList::parse_list(document)),
        Kind::ConfigSingle => list(version, NetworkList::parse_single(document)),
        _ => return None,
    })
}

fn read_result(version: Version, document: &Value) -> Result<AddResult, String> {
    let result = AddResult::parse(document, version).map_err(|error| error.to_string())?;
    result.dns.as_ref().map_or(Ok(()), nameservers)?;
    if result.interfaces.iter().any(|interface| interface.name.is_empty()) {
        return Err("an interface has no name".to_owned());
    }
    if result.routes.iter().any(|route| route.scope.is_some_and(|scope| scope > 255)) {
        return Err("a scope has more than a byte".to_owned());
    }
    if result.ips.iter().any(|ip| ip.interface.is_some_and(|index| index < -1)) {
        return Err("an index is negative".to_owned());
    }
    if version == Version::V0_3_0 && ["ip", "ips"].iter().all(|list| document.get(list).is_some()) {
        return Err("the addresses stand there twice".to_owned());
    }
    // Where addresses state their family, a gateway is of it, and a next hop of that of the destination.
    let families = (Version::V0_3_0..=Version::V0_4_0).contains(&version);
    let gateways = result.ips.iter().map(|ip| (ip.address.addr(), ip.gateway));
    let mut pairs = gateways.chain(result.routes.iter().map(|route| (route.dst.addr(), route.gw)));
    if families && pairs.any(|(one, other)| other.is_some_and(|other| other.is_ipv4() != one.is_ipv4())) {
        return Err("the gateway is of the other family".to_owned());
    }
    Ok(result)
}

fn ipam_result(version: Version, document: &Value) -> Result<(), String> {
    let result = read_result(version, document)?;
    let has_index = result.ips.iter().any(|ip| ip.index().is_some());
    match has_index || version >= Version::V0_3_0 && document.get("interfaces").is_some() {
        true => Err("an IPAM plugin reports no interfaces".to_owned()),
        false => Ok(()),
    }
}

fn add_result(version: Version, document: &Value) -> Result<(), String> {
    let result = read_result(version, document)?;
    for ip in &result.ips {
        if ip.interface.is_some()
            && version >= Version::V0_3_0
            && result.interface_of(ip).is_none()
            && ip.interface != Some(-1)
        {
            return Err(format!("{} has no interface", ip.address));
        }
    }
    Ok(())
}

/// The type keeps any code. Compat takes those of all versions and of the Go library.
fn code(code: u32) -> Result<(), String> {
    let known = code >= FIRST_PLUGIN_SPECIFIC || well_known(code).is_some();
    known.then_some(()).ok_or_else(|| format!("{code} is no code"))
}

/// The type keeps whatever the plugin lists.
fn version_result(document: &Value) -> Result<(), String> {
    let result = VersionResult::parse(document).map_err(|error| error.to_string())?;
    let all = &result.supported_versions;
    if all.iter().enumerate().any(|(index, text)| all[..index].contains(text)) {
        return Err("a version stands there twice".to_owned());
    }
    all.iter().try_for_each(|text| semver(text))
}

fn list(version: Version, list: Result<NetworkList, DocumentError>) -> Result<(), String> {
    let list = list.map_err(|error| error.to_string())?;
    parameters::network_name(list.name(), version).map_err(|error| error.to_string())?;
    for plugin in list.plugins() {
        let types = [Some(plugin.plugin_type()), plugin.ipam_type()];
        for name in types.into_iter().flatten() {
            match parameters::plugin_type(name, version) {
                // Practice, so only strict says it.
                Err(error) if error.problem == Problem::Directory => {}
                other => other.map_err(|error| error.to_string())?,
            }
        }
        dns(plugin)?;
        own_keys(version, plugin)?;
    }
    Ok(())
}

/// The type keeps these keys as they are; whoever uses them looks.
fn own_keys(version: Version, plugin: &PluginConfig) -> Result<(), String> {
    type Holds = fn(&Value, Version) -> bool;
    let rules: [(&str, Holds); 6] = [
        ("args", |value, _| value.is_object()),
        (keys::RUNTIME_CONFIG, |value, _| value.is_object()),
        (keys::PREV_RESULT, |value, _| value.is_object()),
        ("ipMasq", |value, _| value.is_boolean()),
        (keys::NAME, |value, version| {
            value.as_str().is_some_and(|text| parameters::network_name(text, version).is_ok())
        }),
        (keys::CNI_VERSION, |value, _| value.as_str().is_some_and(|text| semver(text).is_ok())),
    ];
    let wrong = rules
        .iter()
        .find(|(key, holds)| plugin.fields().get(*key).is_some_and(|value| !holds(value, version)));
    wrong.map_or(Ok(()), |(key, _)| Err(format!("{key} is of another type")))
}

/// One or two parts are enough for the type, as for the Go library.
fn semver(text: &str) -> Result<(), String> {
    AnyVersion::parse(text).map_err(|error| error.to_string())?;
    match text.split(['-', '+']).next().is_some_and(|core| core.split('.').count() < 3) {
        true => Err(format!("{text:?} has fewer than three parts")),
        false => Ok(()),
    }
}

fn dns(plugin: &PluginConfig) -> Result<(), String> {
    let Some(dns) = plugin.fields().get("dns") else { return Ok(()) };
    nameservers(&Dns::parse(dns).map_err(|error| error.to_string())?)
}

/// The type keeps texts as they are.
fn nameservers(dns: &Dns) -> Result<(), String> {
    let wrong = dns.nameservers.iter().find(|text| text.parse::<IpAddr>().is_err());
    wrong.map_or(Ok(()), |text| Err(format!("{text:?} is no address")))
}
