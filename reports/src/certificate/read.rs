//! Reading a certificate back.

use serde_json::Value;

use super::{CERTIFICATE_VERSION, Certificate, CertificateSet, Section};

/// Why a text is not a certificate that can be read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not JSON, or JSON of another shape.
    #[error(
        "not a certificate of cnitest: {0}; write one with `cnitest plugin PATH --report certificate=FILE`"
    )]
    Shape(#[from] serde_json::Error),
    /// A format that this release does not know.
    #[error(
        "the certificate has certificateVersion {found}, but this release reads {CERTIFICATE_VERSION:?}; use the cnitest that wrote it"
    )]
    Version {
        /// What the certificate says, as JSON.
        found: String,
    },
    /// What it says as a whole contradicts what it says in detail.
    #[error(
        "the certificate of {subject:?} has a result or status that does not follow from its parts; take it as cnitest wrote it"
    )]
    Inconsistent {
        /// Name of the subject.
        subject: String,
    },
}

impl CertificateSet {
    /// Whether a JSON document is meant to be a certificate, or several.
    pub fn is_meant(value: &Value) -> bool {
        value.get("certificateVersion").is_some()
    }

    /// Reads a single certificate, which becomes a set of one, or a set.
    ///
    /// # Errors
    /// When the text is no certificate, is of another format version, or contradicts itself.
    pub fn parse(text: &str) -> Result<CertificateSet, CertificateError> {
        let value: Value = serde_json::from_str(text)?;
        if let Some(found) = value.get("certificateVersion").filter(|found| *found != CERTIFICATE_VERSION) {
            return Err(CertificateError::Version { found: found.to_string() });
        }
        let set = match value.get("certificates") {
            Some(_) => serde_json::from_value(value)?,
            None => CertificateSet::new(vec![serde_json::from_value(value)?]),
        };
        set.certificates.iter().try_for_each(Certificate::require_consistent)?;
        Ok(set)
    }
}

impl Certificate {
    fn require_consistent(&self) -> Result<(), CertificateError> {
        if self.certificate_version != CERTIFICATE_VERSION {
            return Err(CertificateError::Version { found: format!("{:?}", self.certificate_version) });
        }
        let follows = |section: &Section, optional| section.status == section.status(optional, self.strict);
        let sections =
            follows(&self.core, false) && self.features.iter().all(|feature| follows(feature, true));
        match sections && self.result == self.amounts_to() {
            true => Ok(()),
            false => Err(CertificateError::Inconsistent { subject: self.subject.name.clone() }),
        }
    }
}
