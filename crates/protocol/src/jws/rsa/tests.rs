use proptest::prelude::*;
use rsa::{BoxedUint, RsaPublicKey, hazmat::rsa_encrypt};

use super::*;

/// An odd number of exactly so many bits, as bytes.
fn number_of(bits: usize, seed: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = seed.iter().copied().cycle().take(bits.div_ceil(8)).collect();
    let spare = bytes.len() * 8 - bits;
    bytes[0] = (bytes[0] | 0x80) >> spare;
    *bytes.last_mut().unwrap() |= 1;
    bytes
}

fn library(modulus: &[u8], exponent: u32, base: &[u8]) -> Vec<u8> {
    let number = BoxedUint::from_be_slice_vartime;
    let key = RsaPublicKey::new_unchecked(number(modulus), number(&exponent.to_be_bytes()));
    rsa_encrypt(&key, &number(base)).unwrap().to_be_bytes().to_vec()
}

fn ours(modulus: &[u8], exponent: u32, base: &[u8]) -> Vec<u8> {
    let key = PublicKey::new(modulus, &exponent.to_be_bytes()).unwrap();
    bytes(&key.power(&key.signature(base).unwrap().0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any odd modulus, so that each length of the last digit and each carry comes up.
    #[test]
    fn powers_are_those_of_the_library(
        bits in 2048_usize..=4096,
        seed in proptest::collection::vec(any::<u8>(), 128..512),
        base in proptest::collection::vec(any::<u8>(), 256..513),
        exponent in prop_oneof![Just(3_u32), Just(65_537), any::<u32>().prop_map(|any| any.max(3) | 1)],
    ) {
        let modulus = number_of(bits, &seed);
        let mut base = number_of(bits - 1, &base);
        base.splice(0..0, vec![0; modulus.len() - base.len()]);
        let (ours, library) = (ours(&modulus, exponent, &base), library(&modulus, exponent, &base));
        prop_assert_eq!(trim(&ours), trim(&library));
    }
}

#[test]
fn powers_at_the_edges_are_right() {
    for bits in [2048, 2049, 2079, 2080, 2081, 3072, 4095, 4096] {
        let all_ones = number_of(bits, &[0xff]);
        let mut sparse = vec![0; bits.div_ceil(8)];
        sparse[0] = 1 << ((bits - 1) % 8);
        *sparse.last_mut().unwrap() = 1;
        for modulus in [all_ones, sparse] {
            let mut one_less = modulus.clone();
            *one_less.last_mut().unwrap() -= 1;
            let mut one = vec![0; modulus.len()];
            *one.last_mut().unwrap() = 1;
            for exponent in [3, 65_537, u32::MAX] {
                assert!(trim(&ours(&modulus, exponent, &vec![0; modulus.len()])).is_empty());
                assert_eq!(trim(&ours(&modulus, exponent, &one)), [1]);
                assert_eq!(trim(&ours(&modulus, exponent, &one_less)), trim(&one_less), "{bits} {exponent}");
            }
            let key = PublicKey::new(&modulus, &[1, 0, 1]).unwrap();
            assert!(key.signature(&modulus).is_none());
        }
    }
}

#[test]
fn keys_in_der_have_the_lengths_that_they_say() {
    for (bits, exponent) in [(2048, 3), (2049, 65_537), (2056, 0x80_00_00_01), (4096, u32::MAX)] {
        let modulus = number_of(bits, b"some bytes");
        let key = PublicKey::new(&modulus, &u32::to_be_bytes(exponent)).unwrap();
        let spki = key.to_spki();
        let integers = der(0x30, &[integer(&modulus), integer(&exponent.to_be_bytes())].concat());
        assert!(spki.ends_with(&integers));
        let total = u16::from_be_bytes([spki[2], spki[3]]);
        assert_eq!((spki[0], spki[1], usize::from(total) + 4), (0x30, 0x82, spki.len()));
    }
}
