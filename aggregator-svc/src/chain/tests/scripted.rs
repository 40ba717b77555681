//! Contracts that answer each selector with fixed bytes: made of a few EVM opcodes, no compiler needed.

use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::{SolCall, SolValue};

use crate::chain::contracts::{IStakeRegistry, IWavsServiceHandler, IWavsServiceManager};

/// A contract as a table of answers. Unknown selectors revert without data.
#[derive(Default, Clone)]
pub(super) struct Script {
    answers: Vec<([u8; 4], bool, Vec<u8>)>,
}

impl Script {
    /// Answers a function with a value.
    pub(super) fn returns<C: SolCall>(self, value: impl SolValue) -> Self {
        self.answer(C::SELECTOR, true, value.abi_encode())
    }

    /// Lets a function succeed without a value.
    pub(super) fn accepts<C: SolCall>(self) -> Self {
        self.answer(C::SELECTOR, true, Vec::new())
    }

    /// Lets a function revert with data.
    pub(super) fn reverts<C: SolCall>(self, data: Vec<u8>) -> Self {
        self.answer(C::SELECTOR, false, data)
    }

    fn answer(mut self, selector: [u8; 4], success: bool, data: Vec<u8>) -> Self {
        self.answers.retain(|(known, ..)| *known != selector);
        self.answers.push((selector, success, data));
        self
    }

    /// Runtime code: a chain of selector comparisons, then one block per answer that copies its data out of the code.
    pub(super) fn code(&self) -> Bytes {
        const HEAD: usize = 6;
        const COMPARE: usize = 11;
        const BLOCK: usize = 16;
        const TAIL: usize = 5;
        let push2 = |value: usize| u16::try_from(value).unwrap().to_be_bytes();
        let blocks_at = HEAD + COMPARE * self.answers.len() + TAIL;
        let mut data_at = blocks_at + BLOCK * self.answers.len();
        // PUSH1 0 CALLDATALOAD PUSH1 224 SHR
        let mut code = vec![0x60, 0x00, 0x35, 0x60, 0xe0, 0x1c];
        for (index, (selector, ..)) in self.answers.iter().enumerate() {
            // DUP1 PUSH4 selector EQ PUSH2 block JUMPI
            code.extend([0x80, 0x63]);
            code.extend(selector);
            code.extend([0x14, 0x61]);
            code.extend(push2(blocks_at + BLOCK * index));
            code.push(0x57);
        }
        // PUSH1 0 PUSH1 0 REVERT. Without PUSH0, which old chains do not know.
        code.extend([0x60, 0x00, 0x60, 0x00, 0xfd]);
        for (_, success, data) in &self.answers {
            // JUMPDEST PUSH2 length PUSH2 offset PUSH1 0 CODECOPY PUSH2 length PUSH1 0 (RETURN | REVERT)
            code.extend([0x5b, 0x61]);
            code.extend(push2(data.len()));
            code.push(0x61);
            code.extend(push2(data_at));
            code.extend([0x60, 0x00, 0x39, 0x61]);
            code.extend(push2(data.len()));
            code.extend([0x60, 0x00, if *success { 0xf3 } else { 0xfd }]);
            data_at += data.len();
        }
        for (.., data) in &self.answers {
            code.extend(data);
        }
        code.into()
    }
}

/// A handler that names `manager` and accepts everything.
pub(super) fn handler(manager: Address) -> Script {
    Script::default()
        .returns::<IWavsServiceHandler::getServiceManagerCall>(manager)
        .accepts::<IWavsServiceHandler::handleSignedEnvelopeCall>()
}

/// A manager without key lookup (signers are operators) that gives each one `weight` of `total` and accepts every set.
pub(super) fn manager(weight: u64, total: u64) -> Script {
    Script::default()
        .returns::<IWavsServiceManager::getStakeRegistryCall>(Address::ZERO)
        .returns::<IWavsServiceManager::getOperatorWeightCall>(U256::from(weight))
        .returns::<IWavsServiceManager::quorumNumeratorCall>(U256::from(2))
        .returns::<IWavsServiceManager::quorumDenominatorCall>(U256::from(3))
        .returns::<IStakeRegistry::getLastCheckpointTotalWeightAtBlockCall>(U256::from(total))
        .accepts::<IWavsServiceManager::validateCall>()
}
