//! Taking typed fields out of a JSON object, with errors that say where and what.

use serde_json::{Map, Value};

/// A document that does not have the form that its kind requires.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{document}{}{path}: found {found}, use {expected}", if path.is_empty() { "" } else { " at " })]
pub struct DocumentError {
    /// The kind of document, for example `result`.
    pub document: &'static str,
    /// A JSON pointer to the offending place; empty for the document as a whole.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What has to stand there.
    pub expected: String,
}

/// The fields of one object that have not been taken yet.
#[derive(Debug)]
pub(crate) struct Fields {
    document: &'static str,
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    pub(crate) fn root(document: &'static str, value: &Value) -> Result<Fields, DocumentError> {
        Fields::at(document, String::new(), value)
    }

    fn at(document: &'static str, path: String, value: &Value) -> Result<Fields, DocumentError> {
        match value {
            Value::Object(map) => Ok(Fields { document, path, map: map.clone() }),
            other => Err(DocumentError {
                document,
                path,
                found: describe(other),
                expected: "an object".to_owned(),
            }),
        }
    }

    /// A copy of what has not been taken.
    pub(crate) fn clone_rest(&self) -> Map<String, Value> {
        self.map.clone()
    }

    /// What has not been taken.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.map
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    /// Takes a key whatever its type.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key)
    }

    /// The error that a value at `key` is not what was expected.
    pub(crate) fn wrong(&self, key: &str, found: &Value, expected: &str) -> DocumentError {
        self.wrong_at(&escape(key), describe(found), expected)
    }

    fn wrong_at(&self, below: &str, found: String, expected: &str) -> DocumentError {
        let path = if below.is_empty() { self.path.clone() } else { format!("{}/{below}", self.path) };
        DocumentError { document: self.document, path, found, expected: expected.to_owned() }
    }

    /// The error that a required key is absent.
    pub(crate) fn missing(&self, key: &str, expected: &str) -> DocumentError {
        self.wrong_at(&escape(key), "nothing".to_owned(), expected)
    }

    /// Takes a key through `read`, which answers `None` for a value that is not `expected`.
    pub(crate) fn read<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, DocumentError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => read(&value).map(Some).ok_or_else(|| self.wrong(key, &value, expected)),
        }
    }

    /// Like [`Fields::read`] for a key that has to be there.
    pub(crate) fn require<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, DocumentError> {
        self.read(key, expected, read)?.ok_or_else(|| self.missing(key, expected))
    }

    pub(crate) fn string(&mut self, key: &str) -> Result<Option<String>, DocumentError> {
        self.read(key, "a string", text)
    }

    pub(crate) fn uint(&mut self, key: &str) -> Result<Option<u32>, DocumentError> {
        self.read(key, "an integer from 0 to 4294967295", uint)
    }

    /// The elements of an array of strings; absent counts as empty.
    pub(crate) fn strings(&mut self, key: &str) -> Result<Vec<String>, DocumentError> {
        self.elements(key, |fields, index, value| {
            text(value).ok_or_else(|| {
                fields.wrong_at(&format!("{}/{index}", escape(key)), describe(value), "a string")
            })
        })
    }

    /// The elements of an array of objects; absent counts as empty.
    pub(crate) fn objects<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(Fields) -> Result<T, DocumentError>,
    ) -> Result<Vec<T>, DocumentError> {
        self.elements(key, |fields, index, value| {
            read(Fields::at(fields.document, format!("{}/{}/{index}", fields.path, escape(key)), value)?)
        })
    }

    fn elements<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&Fields, usize, &Value) -> Result<T, DocumentError>,
    ) -> Result<Vec<T>, DocumentError> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.iter().enumerate().map(|(i, item)| read(self, i, item)).collect()
            }
            Some(other) => Err(self.wrong(key, &other, "an array")),
        }
    }

    /// The object at a key.
    pub(crate) fn object(&mut self, key: &str) -> Result<Option<Fields>, DocumentError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => {
                Fields::at(self.document, format!("{}/{}", self.path, escape(key)), &value).map(Some)
            }
        }
    }
}

/// The string that a value is.
pub(crate) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// The unsigned 32-bit integer that a value is; `1.0` and strings are none.
pub(crate) fn uint(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

/// The value in a few words, shortened.
fn describe(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        scalar => {
            let text = scalar.to_string();
            match text.char_indices().nth(80) {
                Some((end, _)) => format!("{}...", &text[..end]),
                None => text,
            }
        }
    }
}

/// A key as a JSON pointer writes it.
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
