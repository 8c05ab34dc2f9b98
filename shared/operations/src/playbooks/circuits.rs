//! The circuits that an execution has to pass: its service's and that of all. Alerts start nothing while one is open;
//! people can, and their starts count.

use chrono::{DateTime, Utc};
use domain::{Admission, CircuitOf, ServiceId};
use store::{CircuitLimit, Writes};

use crate::{Error, Medic};

/// A circuit that is open.
pub(super) struct Refusal {
    pub(super) of: CircuitOf,
    /// Nobody was notified of it yet.
    pub(super) is_first: bool,
}

impl Medic {
    pub(super) const fn circuit_limit(&self, of: CircuitOf) -> CircuitLimit {
        match of {
            CircuitOf::Service(_) => self.settings.circuit,
            CircuitOf::All => self.settings.circuit_of_all,
        }
    }

    /// Counts one more start in each of its circuits, in the transaction that makes it; or says which one is open, with
    /// what marks it as notified.
    pub(super) async fn pass_circuits(
        &self,
        service: Option<ServiceId>,
        is_by_person: bool,
        writes: &mut Writes,
        now: DateTime<Utc>,
    ) -> Result<Option<Refusal>, Error> {
        let mut counted = Vec::new();
        for of in service.map(CircuitOf::Service).into_iter().chain([CircuitOf::All]) {
            let limit = self.circuit_limit(of);
            let old = self.table.circuit(of).await?;
            let (circuit, admission) = old.circuit.admit(is_by_person, now, limit.max, limit.window);
            if let Admission::Refuse { is_first } = admission {
                if is_first {
                    writes.update_circuit(&self.table, of, &old, &circuit, limit)?;
                }
                return Ok(Some(Refusal { of, is_first }));
            }
            counted.push((of, old, circuit, limit));
        }
        for (of, old, circuit, limit) in counted {
            writes.update_circuit(&self.table, of, &old, &circuit, limit)?;
        }
        Ok(None)
    }
}
