//! RS256: verification of RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2.2), and nothing else of RSA.
//!
//! All that comes in is public, so that no time needs to be hidden: a number is raised to a small power, and the bytes
//! of the result are compared with the only ones that are right. The libraries that do it bring key generation,
//! blinding and several key formats along, 60 to 90 KB in the filter (ARCHITECTURE.md); this is 4.

use std::{cmp::Ordering, iter::repeat_n};

use sha2::{Digest as _, Sha256};

use super::public::{der, integer};

/// Sizes of a modulus that are used, in bits: below that RSA is too weak (SP 800-131A), above it a signature costs too much.
const BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// DigestInfo of SHA-256 up to the hash (RFC 8017 section 9.2, note 1).
const DIGEST_INFO: &[u8] = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";

/// AlgorithmIdentifier rsaEncryption with its NULL.
const RSA_ENCRYPTION: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

/// A public key with what is needed to count modulo it. Numbers are 32-bit digits, the lowest first.
#[derive(Clone, Debug)]
pub(super) struct PublicKey {
    modulus: Vec<u32>,
    exponent: u32,
    /// Bytes of the modulus, and of a signature.
    size: usize,
    /// The square of R modulo the modulus; R is 2 to the bits of all digits.
    r_squared: Vec<u32>,
    /// The inverse of the negated modulus modulo 2^32.
    inverse: u32,
}

/// A signature that is as long as the modulus and less than it.
pub(super) struct Signature(Vec<u32>);

impl PublicKey {
    /// Checks a key: both numbers odd, the modulus of 2048 to 4096 bits, the exponent from 3 below 2^32.
    pub(super) fn new(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let (modulus, exponent) = (trim(modulus), trim(exponent));
        let exponent = exponent.iter().try_fold(0_u32, |sum, byte| Some(sum.checked_mul(256)? | u32::from(*byte)))?;
        let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
        let odd = modulus.last()? & 1 == 1 && exponent & 1 == 1;
        if !BITS.contains(&bits) || !odd || exponent < 3 {
            return None;
        }
        let size = modulus.len();
        let modulus = digits(modulus);
        let lowest = *modulus.first()?;
        // Newton's method doubles the bits that are right: 3 of them to begin with.
        let inverse = (0..4).fold(lowest, |x, _| x.wrapping_mul(2_u32.wrapping_sub(lowest.wrapping_mul(x))));
        let mut key = PublicKey { r_squared: Vec::new(), inverse: inverse.wrapping_neg(), exponent, size, modulus };
        key.r_squared = key.square_of_r(bits);
        Some(key)
    }

    /// The key as SubjectPublicKeyInfo in DER.
    pub(super) fn to_spki(&self) -> Vec<u8> {
        let numbers = [integer(&bytes(&self.modulus)), integer(&self.exponent.to_be_bytes())].concat();
        let bits = [&[0], &*der(0x30, &numbers)].concat();
        der(0x30, &[RSA_ENCRYPTION, &der(0x03, &bits)].concat())
    }

    /// The signature of these bytes, if they can be one.
    pub(super) fn signature(&self, signature: &[u8]) -> Option<Signature> {
        let number = digits(signature);
        let fits = signature.len() == self.size && compare(&number, &self.modulus).is_lt();
        fits.then_some(Signature(number))
    }

    pub(super) fn verify(&self, text: &[u8], signature: &Signature) -> bool {
        // 00 01 FF ... FF 00 DigestInfo hash, as long as the modulus.
        let fixed = 3 + DIGEST_INFO.len() + 32;
        let mut expected = vec![0, 1];
        expected.extend(repeat_n(0xff, self.size.saturating_sub(fixed)));
        expected.push(0);
        expected.extend_from_slice(DIGEST_INFO);
        expected.extend_from_slice(&Sha256::digest(text));
        self.power(&signature.0) == digits(&expected)
    }

    /// `base` to the exponent, modulo the modulus.
    fn power(&self, base: &[u32]) -> Vec<u32> {
        let base = self.multiply(base, &self.r_squared);
        let mut result = base.clone();
        for bit in (0..self.exponent.ilog2()).rev() {
            result = self.multiply(&result, &result);
            if self.exponent >> bit & 1 == 1 {
                result = self.multiply(&result, &base);
            }
        }
        let mut one = vec![0; self.modulus.len()];
        one.iter_mut().take(1).for_each(|lowest| *lowest = 1);
        self.multiply(&result, &one)
    }

    /// `a * b / R` modulo the modulus, digit by digit (Montgomery 1985). The result is less than the modulus if `a` or `b` is.
    fn multiply(&self, a: &[u32], b: &[u32]) -> Vec<u32> {
        let mut sum = vec![0_u32; self.modulus.len()];
        let mut top = 0_u64;
        for factor in a {
            top += add_product(&mut sum, *factor, b);
            let lowest = sum.first().copied().unwrap_or_default();
            // Makes the lowest digit 0, which is then dropped.
            top += add_product(&mut sum, lowest.wrapping_mul(self.inverse), &self.modulus);
            sum.rotate_left(1);
            sum.iter_mut().next_back().into_iter().for_each(|last| *last = top as u32);
            top >>= 32;
        }
        if top > 0 || compare(&sum, &self.modulus).is_ge() {
            subtract(&mut sum, &self.modulus);
        }
        sum
    }

    /// R squared. Doubling makes R times 2 to the number of digits of it, and five squarings of that R times R.
    fn square_of_r(&self, bits: usize) -> Vec<u32> {
        let count = self.modulus.len();
        // The highest power of two below the modulus.
        let mut power = vec![0_u32; count];
        power.iter_mut().next_back().into_iter().for_each(|last| *last = 1 << ((bits - 1) % 32));
        for _ in bits - 1..count * 32 + count {
            let mut carry = 0;
            for digit in &mut power {
                (*digit, carry) = (*digit << 1 | carry, *digit >> 31);
            }
            if carry > 0 || compare(&power, &self.modulus).is_ge() {
                subtract(&mut power, &self.modulus);
            }
        }
        (0..5).fold(power, |power, _| self.multiply(&power, &power))
    }
}

/// Adds `factor * number` to `sum`, which is as long, and returns what goes beyond it.
fn add_product(sum: &mut [u32], factor: u32, number: &[u32]) -> u64 {
    let mut carry = 0;
    for (digit, other) in sum.iter_mut().zip(number) {
        let wide = u64::from(factor) * u64::from(*other) + u64::from(*digit) + carry;
        *digit = wide as u32;
        carry = wide >> 32;
    }
    carry
}

/// Subtracts `number`, which is as long; what would have to be borrowed beyond it is known to be there.
fn subtract(from: &mut [u32], number: &[u32]) {
    let mut borrow = false;
    for (digit, other) in from.iter_mut().zip(number) {
        (*digit, borrow) = digit.borrowing_sub(*other, borrow);
    }
}

/// Compares two numbers of the same length.
fn compare(a: &[u32], b: &[u32]) -> Ordering {
    a.iter().rev().cmp(b.iter().rev())
}

fn trim(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    number.get(start..).unwrap_or_default()
}

fn digits(number: &[u8]) -> Vec<u32> {
    number.rchunks(4).map(|chunk| chunk.iter().fold(0, |digit, byte| digit << 8 | u32::from(*byte))).collect()
}

fn bytes(number: &[u32]) -> Vec<u8> {
    number.iter().rev().flat_map(|digit| digit.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests;
