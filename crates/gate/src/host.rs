//! What a proxy does for the gate at once, within the callback at hand. All else goes out as a step or a command.

/// A proxy, as far as the gate asks it and needs the answer on the spot.
///
/// Each method may be called in any callback. None of them is called for a request that is allowed by its head, with a
/// token that is known already, unless a rule counts.
pub trait Host {
    /// 16 random bytes; `None` where the host has no randomness, and then nothing is held or let through by a grant.
    fn nonce(&mut self) -> Option<[u8; 16]>;

    /// Whether the signature over the text, with SHA-256, was made by the key; `None` where the host cannot tell. The key is
    /// SubjectPublicKeyInfo in DER, the signature PKCS#1 for RSA and DER for ECDSA.
    fn verify_signature(&mut self, key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool>;

    /// The client certificate of the stream at hand, once the proxy has validated it: the end of its validity in Unix
    /// seconds, a blank, and its only URI. `None` where there is no certificate, or none that was validated.
    fn peer(&mut self) -> Option<String>;

    /// A value that all workers of the proxy share, with its version for [`Host::share`].
    fn shared(&mut self, key: &str) -> (Option<Vec<u8>>, u32);

    /// Replaces a shared value if its version is still this one; a value that is not there is made with any version, and
    /// with 0 whatever is there is replaced. `false`: another worker was first, or the host shares nothing.
    fn share(&mut self, key: &str, value: &[u8], version: u32) -> bool;
}
