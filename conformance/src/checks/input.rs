//! Checks of what a plugin does with a faulty, odd or large document on stdin.

use cni_spec::error::{
    DECODING_FAILURE, INCOMPATIBLE_VERSION, INVALID_CONFIGURATION, IO_FAILURE, UNSUPPORTED_FIELD,
};
use cni_spec::{Operation, Version};
use serde_json::{Map, Value, json};

use super::cycle;
use super::protocol::{
    changed_add, code_requirement, expect_fitting_code, expect_lives, expect_named, expect_refused,
    expect_unchanged, operation, refused,
};
use super::reproducer::Assertion;
use super::{Call, Case, Check, Concerns, Scope, Stop, pretty};
use crate::invoke::Stdin;
use crate::target::Kind;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "input.empty",
        title: "An operation with nothing on stdin is refused, and changes nothing",
        requirements: &[
            "error.empty-stdin",
            "error.json-on-stdout-nonzero-exit",
            "error.reserved-range",
            "error.no-partial-side-effects-on-input-error",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["ADD", "DEL", "CHECK", "GC", "STATUS"],
        run: empty,
    },
    Check {
        id: "input.unreadable",
        title: "ADD with a stdin that cannot be read is refused with code 5",
        requirements: &["error.empty-stdin", "error.code-5", "error.no-partial-side-effects-on-input-error"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["directory", "closed"],
        run: unreadable,
    },
    Check {
        id: "input.malformed",
        title: "ADD with malformed JSON on stdin is refused with code 6, and changes nothing",
        requirements: &[
            "error.malformed-json",
            "error.code-6",
            "error.json-on-stdout-nonzero-exit",
            "error.no-partial-side-effects-on-input-error",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[
            "cut at a quarter",
            "cut in the middle",
            "cut before the last byte",
            "garbage",
            "white space",
            "single brace",
            "single quotes",
            "missing comma",
        ],
        run: malformed,
    },
    Check {
        id: "input.dialect",
        title: "ADD takes nothing but one plain JSON document",
        requirements: &["config.strict-json", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[
            "text after the object",
            "second object",
            "byte order mark",
            "comment",
            "trailing comma",
            "invalid UTF-8",
        ],
        run: dialect,
    },
    Check {
        id: "input.root-type",
        title: "ADD with a document that is no object is refused, and changes nothing",
        requirements: &[
            "config.root-is-object",
            "error.reserved-range",
            "error.no-partial-side-effects-on-input-error",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["array", "string", "number", "true", "null"],
        run: root_type,
    },
    Check {
        id: "input.wrong-type",
        title: "ADD with a value of the wrong type is refused cleanly, if the plugin reads that key",
        requirements: &[
            "error.wrong-types",
            "error.json-on-stdout-nonzero-exit",
            "error.no-partial-side-effects-on-input-error",
            "add.failure-rolls-back",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[
            "name number",
            "name object",
            "type object",
            "ipam array",
            "ipam string",
            "dns string",
            "dns.nameservers string",
            "prevResult string",
            "prevResult array",
            "runtimeConfig array",
            "args string",
            "capabilities array",
        ],
        run: wrong_type,
    },
    Check {
        id: "input.null-in-prevresult",
        title: "A null in prevResult does not crash the plugin",
        requirements: &["error.json-on-stdout-nonzero-exit", "exec.exit-nonzero-on-failure"],
        concerns: Concerns::Kinds(&[Kind::Interface, Kind::Chained]),
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &[
            "ADD ips",
            "ADD routes",
            "ADD interfaces",
            "ADD prevResult",
            "CHECK ips",
            "CHECK routes",
            "CHECK interfaces",
            "CHECK prevResult",
            "DEL ips",
            "DEL routes",
            "DEL interfaces",
            "DEL prevResult",
        ],
        run: null_in_prevresult,
    },
    Check {
        id: "input.name",
        title: "ADD with a missing or invalid network name is refused with code 7, and changes nothing",
        requirements: &[
            "config.name-charset",
            "config.name-first-char",
            "config.name-required",
            "config.name-charset-legacy",
            "error.code-7",
            "param.validation-order",
            "error.no-partial-side-effects-on-input-error",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["missing", "empty", "-a", ".a", "_a", "a/b", "../x", "a b", "a;b", "aé", "final newline"],
        run: name,
    },
    Check {
        id: "input.name-valid",
        title: "ADD accepts every valid network name",
        requirements: &["config.name-charset"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V1_0_0,
        variants: &["a", "9", "a_b.c-d", "a..b"],
        run: name_valid,
    },
    Check {
        id: "input.unknown-key",
        title: "ADD ignores a key that it does not know, or refuses it with code 2 and its name and value",
        requirements: &["error.code-2", "error.code-2-names-field"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_2_0,
        variants: &["string", "object", "null", "large integer"],
        run: unknown_key,
    },
    Check {
        id: "input.unknown-args",
        title: "ADD ignores data under args that it does not know",
        requirements: &["config.plugin-ignores-unknown-args"],
        concerns: Concerns::Attaching,
        scope: Scope::Versions,
        since: Version::V0_2_0,
        variants: &[],
        run: unknown_args,
    },
    Check {
        id: "input.extreme",
        title: "ADD lives through large, deep and odd documents",
        requirements: &[
            "error.json-on-stdout-nonzero-exit",
            "exec.exit-nonzero-on-failure",
            "error.malformed-json",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[
            "1 MiB in an unknown key",
            "100 levels",
            "10000 levels",
            "10000 levels, not closed",
            "key twice",
            "100000 keys",
            "integer beyond 64 bits",
            "number with a large exponent",
            "escaped null byte in a string",
            "lone surrogate in a string",
        ],
        run: extreme,
    },
];

fn empty(case: &mut Case<'_>) -> Result<(), Stop> {
    let operation = operation(case, case.variant)?;
    let attachment = case.attachment()?;
    let call = case.call(operation, &attachment).text("").label(format!("{operation} with empty stdin"));
    if let Some(answer) = refused(case, call, "error.empty-stdin", "there is no configuration")? {
        expect_fitting_code(case, &answer, &[IO_FAILURE, DECODING_FAILURE, INVALID_CONFIGURATION]);
    }
    Ok(())
}

fn unreadable(case: &mut Case<'_>) -> Result<(), Stop> {
    let (stdin, what, codes): (_, _, &[u32]) = match case.variant {
        "directory" => (Stdin::Directory, "a directory as stdin", &[IO_FAILURE]),
        // Language runtimes open /dev/null where a standard descriptor is closed: then stdin is empty.
        _ => (Stdin::Closed, "a closed stdin", &[IO_FAILURE, DECODING_FAILURE, INVALID_CONFIGURATION]),
    };
    let attachment = case.attachment()?;
    let call = Call { stdin, ..case.call(Operation::Add, &attachment) }.label(format!("ADD with {what}"));
    if let Some(answer) = refused(case, call, "error.empty-stdin", "the configuration cannot be read")? {
        case.expect_code(&answer, "error.code-5", codes);
    }
    Ok(())
}

fn malformed(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let call = case.call(Operation::Add, &attachment);
    let whole = pretty(&Value::Object(attachment.request(Operation::Add)));
    let text = match case.variant {
        "cut at a quarter" => cut(&whole, whole.len() / 4),
        "cut in the middle" => cut(&whole, whole.len() / 2),
        "cut before the last byte" => cut(&whole, whole.len() - 1),
        "garbage" => "certainly not JSON \u{0}\u{1}".to_owned(),
        "white space" => " \n\t\n".to_owned(),
        "single brace" => "{".to_owned(),
        "single quotes" => whole.replace('"', "'"),
        _ => whole.replacen(',', " ", 1),
    };
    let call = call.text(text).label(format!("ADD with malformed JSON ({})", case.variant));
    if let Some(answer) = refused(case, call, "error.malformed-json", "stdin is no JSON document")? {
        let expected = "malformed JSON is reported as an error, and nothing falls over";
        let assertion = Assertion::Lives(answer.index);
        case.expect_as(!answer.crashed(), "error.malformed-json", expected, answer.summary(), assertion);
        if case.variant == "white space" {
            expect_fitting_code(case, &answer, &[IO_FAILURE, DECODING_FAILURE, INVALID_CONFIGURATION]);
        } else {
            case.expect_code(&answer, "error.code-6", &[DECODING_FAILURE]);
        }
    }
    Ok(())
}

fn dialect(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let whole = pretty(&Value::Object(attachment.request(Operation::Add)));
    let bytes = match case.variant {
        "text after the object" => format!("{whole}\nmore").into_bytes(),
        "second object" => format!("{whole}\n{whole}").into_bytes(),
        "byte order mark" => format!("\u{feff}{whole}").into_bytes(),
        "comment" => with_start(&whole, b"// a comment\n"),
        "trailing comma" => format!("{},\n}}", cut(&whole, whole.len() - 1).trim_end()).into_bytes(),
        _ => with_start(&whole, b"\"x-text\": \"\xff\xfe\","),
    };
    let call = case.call(Operation::Add, &attachment).text(bytes).label(format!("ADD with {}", case.variant));
    let answer = case.run(call)?;
    if expect_lives(case, &answer) {
        let expected = format!("{} fails: it is no plain JSON", answer.label);
        case.expect(answer.refused(), "config.strict-json", expected, answer.summary());
    }
    Ok(())
}

fn root_type(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let request = Value::Object(attachment.request(Operation::Add));
    let document = match case.variant {
        "array" => json!([request]),
        "string" => json!(pretty(&request)),
        "number" => json!(1),
        "true" => json!(true),
        _ => Value::Null,
    };
    let label = format!("ADD with {} as the document", case.variant);
    let call = case.call(Operation::Add, &attachment).document(&document).label(label);
    if let Some(answer) = refused(case, call, "config.root-is-object", "a configuration is an object")? {
        let codes = [INCOMPATIBLE_VERSION, DECODING_FAILURE, INVALID_CONFIGURATION];
        expect_fitting_code(case, &answer, &codes);
    }
    Ok(())
}

fn wrong_type(case: &mut Case<'_>) -> Result<(), Stop> {
    let (key, value) = match case.variant {
        "name number" => ("name", json!(5)),
        "name object" => ("name", json!({ "a": "b" })),
        "type object" => ("type", json!({ "a": "b" })),
        "ipam array" => ("ipam", json!([{ "type": "host-local" }])),
        "ipam string" => ("ipam", json!("host-local")),
        "dns string" => ("dns", json!("192.0.2.53")),
        "dns.nameservers string" => ("dns", json!({ "nameservers": "192.0.2.53" })),
        "prevResult string" => ("prevResult", json!("none")),
        "prevResult array" => ("prevResult", json!([{ "ips": [] }])),
        "runtimeConfig array" => ("runtimeConfig", json!([{ "mac": "02:00:00:00:00:01" }])),
        "args string" => ("args", json!("A=B")),
        _ => ("capabilities", json!(["portMappings"])),
    };
    let attachment = case.attachment()?;
    let label = format!("ADD with {key} {value}");
    let call = case.call(Operation::Add, &attachment).label(label).edit(|request| {
        request.insert(key.to_owned(), value);
    });
    let before = case.snapshot()?;
    let answer = case.run(call)?;
    if must_read(case, key) {
        expect_refused(case, &answer, "error.wrong-types", &format!("{key} has the wrong type"));
    } else {
        expect_lives(case, &answer);
    }
    if answer.refused() {
        expect_fitting_code(case, &answer, &[DECODING_FAILURE, INVALID_CONFIGURATION]);
        let after = case.snapshot()?;
        if key == "name" {
            expect_unchanged(case, &before, &after, &answer);
        } else {
            let what = format!("a refused {}", answer.label);
            case.expect_unchanged(&before, &after, unchanged_requirement(case), &what, |_| false);
        }
    }
    Ok(())
}

fn null_in_prevresult(case: &mut Case<'_>) -> Result<(), Stop> {
    let (name, part) = case.variant.split_once(' ').unwrap_or((case.variant, ""));
    let operation = operation(case, name)?;
    let mut attachment = case.attachment()?;
    if operation != Operation::Add {
        case.add(&mut attachment)?;
    }
    let version = case.version;
    let call = case.call(operation, &attachment).label(format!("{name} with a null in prevResult")).edit(
        |request| {
            let empty = json!({ "cniVersion": version.as_str(), "interfaces": [], "ips": [], "routes": [] });
            let previous = request.entry("prevResult").or_insert(empty);
            match previous {
                Value::Object(previous) if part != "prevResult" => {
                    previous.insert(part.to_owned(), json!([null]));
                }
                _ => *previous = Value::Null,
            }
        },
    );
    let answer = case.run(call)?;
    expect_lives(case, &answer);
    Ok(())
}

fn name(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let call = case.call(Operation::Add, &attachment);
    let (name, requirement, why) = match case.variant {
        "missing" => (None, "config.name-required", "a configuration has a name"),
        "empty" => (Some(""), "config.name-required", "a configuration has a name"),
        "final newline" => (Some("a\n"), "config.name-charset", "a name holds no such character"),
        start @ ("-a" | ".a" | "_a") => {
            (Some(start), "config.name-first-char", "a name starts with a letter or a digit")
        }
        other => (Some(other), "config.name-charset", "a name holds no such character"),
    };
    let label = match name {
        None => "ADD without name".to_owned(),
        Some(name) => format!("ADD with name {name:?}"),
    };
    let call = call.label(label).edit(|request| match name {
        None => drop(request.shift_remove("name")),
        Some(name) => drop(request.insert("name".to_owned(), json!(name))),
    });
    if case.level(requirement).is_none() {
        // Before 1.0.0 names have no syntax.
        let answer = case.run(call)?;
        if expect_lives(case, &answer) {
            let expected = format!("{} fails with code {INVALID_CONFIGURATION}", answer.label);
            let holds = answer.code() == Some(INVALID_CONFIGURATION);
            case.expect(holds, "config.name-charset-legacy", expected, answer.summary());
        }
        return Ok(());
    }
    if let Some(answer) = refused(case, call, requirement, why)? {
        case.expect_code(&answer, code_requirement(case, "error.code-7"), &[INVALID_CONFIGURATION]);
    }
    Ok(())
}

fn name_valid(case: &mut Case<'_>) -> Result<(), Stop> {
    let name = case.variant;
    let rename = |request: &mut Map<String, Value>| drop(request.insert("name".to_owned(), json!(name)));
    let label = format!("ADD with name {name:?}");
    // Two networks with one pool would give out the same address: the first attachment has to go.
    let first = cycle::attached(case)?;
    cycle::detach(case, &first)?;
    let mut attachment = case.attachment()?;
    let answer = case.run(case.call(Operation::Add, &attachment).edit(rename).label(label))?;
    if case.expect_success(&answer, "config.name-charset") {
        rename(&mut attachment.plugin);
        attachment.result = answer.document().cloned();
        let answer = case.operate(Operation::Del, &attachment)?;
        case.expect_success(&answer, "config.name-charset");
    }
    Ok(())
}

fn unknown_key(case: &mut Case<'_>) -> Result<(), Stop> {
    let key = "x-cnitest-probe";
    let value = match case.variant {
        "string" => json!("v123"),
        "object" => json!({ "a": { "b": [1, "v123", null] } }),
        "null" => Value::Null,
        _ => json!(9_007_199_254_740_993_u64),
    };
    let label = format!("ADD with the unknown key {key}");
    let (answer, _) = changed_add(case, |call| {
        call.label(label).edit(|request| drop(request.insert(key.to_owned(), value.clone())))
    })?;
    if answer.succeeded() || !expect_lives(case, &answer) {
        return Ok(());
    }
    case.expect_code(&answer, "error.code-2", &[UNSUPPORTED_FIELD]);
    if answer.code() == Some(UNSUPPORTED_FIELD) {
        expect_named(case, &answer, "error.code-2-names-field", key);
        if let Some(text) = value.as_str() {
            expect_named(case, &answer, "error.code-2-names-field", text);
        }
    }
    Ok(())
}

fn unknown_args(case: &mut Case<'_>) -> Result<(), Stop> {
    let insert = |request: &mut Map<String, Value>| {
        if let Value::Object(args) = request.entry("args").or_insert_with(|| json!({})) {
            args.insert("cnitest.example/x".to_owned(), json!({ "y": 1 }));
        }
    };
    let (answer, _) = changed_add(case, |call| call.edit(insert).label("ADD with unknown data under args"))?;
    case.expect_success(&answer, "config.plugin-ignores-unknown-args");
    Ok(())
}

fn extreme(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let whole = pretty(&Value::Object(attachment.request(Operation::Add)));
    let start = match case.variant {
        "1 MiB in an unknown key" => format!("\"x-large\": \"{}\",", "a".repeat(1 << 20)),
        "100 levels" => format!("\"x-deep\": {}{},", "[".repeat(100), "]".repeat(100)),
        "10000 levels" => format!("\"x-deep\": {}{},", "[".repeat(10_000), "]".repeat(10_000)),
        "10000 levels, not closed" => "\"x\":{".repeat(10_000),
        "key twice" => "\"name\": \"cnitest-other\",".to_owned(),
        "100000 keys" => (0..100_000).map(|index| format!("\"x{index}\":{index},")).collect(),
        "integer beyond 64 bits" => "\"x-number\": 123456789012345678901234567890,".to_owned(),
        "number with a large exponent" => "\"x-number\": 1e400,".to_owned(),
        "escaped null byte in a string" => "\"x-text\": \"a\\u0000b\",".to_owned(),
        _ => "\"x-text\": \"\\ud800\",".to_owned(),
    };
    let text = with_start(&whole, start.as_bytes());
    let call = case.call(Operation::Add, &attachment).text(text).label(format!("ADD with {}", case.variant));
    if case.variant == "10000 levels, not closed" {
        refused(case, call, "error.malformed-json", "stdin is no JSON document")?;
        return Ok(());
    }
    let before = case.snapshot()?;
    let answer = case.run(call)?;
    expect_lives(case, &answer);
    if answer.refused() {
        let after = case.snapshot()?;
        let what = format!("a refused {}", answer.label);
        case.expect_unchanged(&before, &after, unchanged_requirement(case), &what, |_| false);
    }
    Ok(())
}

// ---- helpers

/// The first bytes of a text, at most `length`.
fn cut(text: &str, length: usize) -> String {
    let end = (0..=length).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

/// The text of an object with more text after its opening brace.
fn with_start(object: &str, start: &[u8]) -> Vec<u8> {
    let mut bytes = object.as_bytes().to_vec();
    bytes.splice(1..1, start.iter().copied());
    bytes
}

/// Whether the plugin cannot do its work without reading this key.
fn must_read(case: &Case<'_>, key: &str) -> bool {
    let Some(target) = case.target else { return key == "name" };
    match key {
        "name" => true,
        "ipam" => {
            case.configuration.plugin.contains_key(key) && (target.delegates || target.kind == Kind::Ipam)
        }
        "prevResult" => target.kind == Kind::Chained && case.version >= Version::V0_3_0,
        _ => false,
    }
}

/// By what a change is judged that stays after a refusal: a delegated plugin may be the one that refuses, and then the
/// plugin has begun its own work already.
fn unchanged_requirement(case: &Case<'_>) -> &'static str {
    match case.target {
        Some(target) if !target.executes_others() => "error.no-partial-side-effects-on-input-error",
        _ => "add.failure-rolls-back",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("{}", 1), "{");
    }

    #[test]
    fn a_start_goes_behind_the_brace() {
        let text = with_start("{\"a\":1}", b"\"b\":2,");
        let value: Value = serde_json::from_slice(&text).expect("still JSON");
        assert_eq!(value, json!({ "b": 2, "a": 1 }));
    }
}
