//! Argon2id (RFC 9106): what makes a passphrase expensive to guess.
//!
//! Floor and ceiling are enforced when parameters are read too: a slot that somebody weakened is refused,
//! and one that asks for more memory than a machine has cannot stop it.

use argon2::{Algorithm, Argon2, Params, Version};

use super::secret::Secret;

/// Costs of one key slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    /// Passes over the memory.
    pub passes: u32,
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Lanes.
    pub lanes: u32,
}

/// The least that is accepted, and the default: RFC 9106's second recommended option.
pub const COST_MIN: PasswordCost = PasswordCost { passes: 3, memory_kib: 64 * 1024, lanes: 4 };
/// The most that is accepted.
pub const COST_MAX: PasswordCost = PasswordCost { passes: 64, memory_kib: 2 * 1024 * 1024, lanes: 64 };

/// The costs are outside what this program accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key slot costs (passes {}, memory {} KiB, lanes {}) are outside the accepted range", .0.passes, .0.memory_kib, .0.lanes)]
pub struct CostRefused(pub PasswordCost);

impl PasswordCost {
    /// Checks floor and ceiling.
    pub fn check(self) -> Result<Self, CostRefused> {
        let within = |v: u32, min: u32, max: u32| (min..=max).contains(&v);
        let fine = within(self.passes, COST_MIN.passes, COST_MAX.passes)
            && within(self.memory_kib, COST_MIN.memory_kib, COST_MAX.memory_kib)
            && within(self.lanes, COST_MIN.lanes, COST_MAX.lanes);
        if fine { Ok(self) } else { Err(CostRefused(self)) }
    }
}

/// The secret that `passphrase` and `salt` make.
pub fn stretch(passphrase: &[u8], salt: &[u8; 32], cost: PasswordCost) -> Result<Secret, CostRefused> {
    let cost = cost.check()?;
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(|_| CostRefused(cost))?;
    let mut out = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut out)
        .map_err(|_| CostRefused(cost))?;
    Ok(Secret::new(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_outside_floor_and_ceiling_are_refused() {
        let weak = PasswordCost { memory_kib: 1024, ..COST_MIN };
        let huge = PasswordCost { memory_kib: 3 * 1024 * 1024, ..COST_MIN };
        assert!(stretch(b"p", &[0; 32], weak).is_err());
        assert!(stretch(b"p", &[0; 32], huge).is_err());
    }
}
