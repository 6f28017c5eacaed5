//! What a proxy does for the gate at once: shared data and randomness.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use holdgate_gate::Host;

/// The name under which the bundle in force is kept.
const KEPT: &str = "kept bundle";

/// Shared data with the version of each value; all workers of a proxy have one.
#[derive(Clone, Default)]
pub(super) struct Memory(Rc<RefCell<Values>>);

type Values = HashMap<String, (Vec<u8>, u32)>;

impl Memory {
    pub(super) fn kept(&self) -> Option<Vec<u8>> {
        self.0.borrow().get(KEPT).map(|(value, _)| value.clone())
    }

    pub(super) fn keep(&self, bundle: Vec<u8>) {
        self.0.borrow_mut().insert(KEPT.to_owned(), (bundle, 1));
    }

    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

/// The proxy around a gate, with numbers in place of randomness.
pub(super) struct Proxy {
    memory: Memory,
    worker: u8,
    nonces: u64,
}

impl Proxy {
    pub(super) fn new(memory: Memory, worker: usize) -> Self {
        Proxy { memory, worker: u8::try_from(worker).unwrap_or(u8::MAX), nonces: 0 }
    }
}

impl Host for Proxy {
    fn nonce(&mut self) -> Option<[u8; 16]> {
        self.nonces += 1;
        let mut nonce = [self.worker; 16];
        nonce.iter_mut().zip(self.nonces.to_be_bytes()).for_each(|(byte, counted)| *byte = counted);
        Some(nonce)
    }

    fn verify_signature(&mut self, _key: &[u8], _signature: &[u8], _text: &[u8]) -> Option<bool> {
        None
    }

    fn peer(&mut self) -> Option<String> {
        None
    }

    fn shared(&mut self, key: &str) -> (Option<Vec<u8>>, u32) {
        let memory = self.memory.0.borrow();
        memory.get(key).map_or((None, 0), |(value, version)| (Some(value.clone()), *version))
    }

    fn share(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        let mut memory = self.memory.0.borrow_mut();
        let now = memory.get(key).map_or(0, |(_, version)| *version);
        let current = version == 0 || version == now;
        if current {
            memory.insert(key.to_owned(), (value.to_vec(), now + 1));
        }
        current
    }
}
