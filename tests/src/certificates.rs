//! Certificates of P-256, in PEM: authorities, and what they or nobody signed.

use anyhow::Result;
use base64::Engine as _;
use p256::ecdsa::{DerSignature, SigningKey, signature::Signer as _};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType,
};

/// A certificate with its private key.
pub struct Certificate {
    pub pem: String,
    pub key_pem: String,
}

/// An authority that signs certificates.
pub struct Authority {
    params: CertificateParams,
    key: Key,
    pub pem: String,
}

impl Authority {
    pub fn new(seed: u8) -> Result<Self> {
        let mut params = params(seed, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = Key::new(seed)?;
        let pem = pem("CERTIFICATE", params.self_signed(&key)?.der());
        Ok(Authority { params, key, pem })
    }

    /// A certificate with these URIs, or DNS names where they have no scheme.
    pub fn issue(&self, seed: u8, names: &[&str]) -> Result<Certificate> {
        let key = Key::new(seed)?;
        let certificate = params(seed, names)?.signed_by(&key, &Issuer::from_params(&self.params, &self.key))?;
        Ok(Certificate { pem: pem("CERTIFICATE", certificate.der()), key_pem: key.pem() })
    }
}

/// A certificate that nobody but itself vouches for.
pub fn self_signed(seed: u8, names: &[&str]) -> Result<Certificate> {
    let key = Key::new(seed)?;
    Ok(Certificate { pem: pem("CERTIFICATE", params(seed, names)?.self_signed(&key)?.der()), key_pem: key.pem() })
}

fn params(seed: u8, names: &[&str]) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(u64::from(seed).into());
    // A name of its own: a certificate whose issuer has its name would count as self-signed.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("key {seed}"));
    for name in names {
        let name_form = if name.contains("://") { SanType::URI } else { SanType::DnsName };
        params.subject_alt_names.push(name_form((*name).try_into()?));
    }
    Ok(params)
}

/// A key of P-256.
struct Key {
    key: SigningKey,
    point: Vec<u8>,
    secret: [u8; 32],
}

impl Key {
    fn new(seed: u8) -> Result<Self> {
        let secret = [seed; 32];
        let key = SigningKey::from_slice(&secret)?;
        let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
        Ok(Key { key, point, secret })
    }

    /// PKCS#8 (RFC 5208) around an ECPrivateKey (RFC 5915) with its public half.
    fn pem(&self) -> String {
        let head = b"\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b\x02\x01\x01\x04\x20";
        pem("PRIVATE KEY", &[head.as_slice(), &self.secret, b"\xa1\x44\x03\x42\x00", &self.point].concat())
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: DerSignature = self.key.sign(text);
        Ok(signature.as_bytes().to_vec())
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
