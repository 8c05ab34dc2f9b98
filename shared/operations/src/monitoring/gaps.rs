//! Proves when Medic could not hear: renews the pulse, and returns the gaps to whoever would open an alert because of
//! silence. A gap is recorded before anything is judged, by whoever comes first.

use chrono::{DateTime, Utc};
use domain::{Decision, Gap, Opening, Pulse, Run, RunContext, RunDecision, RunTransition, Service, Transition};
use store::Commit;

use crate::{Error, Medic};

/// More conflicts than processes that renew the pulse at once.
const ROUNDS: usize = 16;

impl Medic {
    /// Renews the pulse. One write unit; nothing is read where this process renewed it last.
    pub async fn renew_pulse(&self, now: DateTime<Utc>) -> Result<(), Error> {
        self.renewed(&mut *self.pulse.lock().await, now).await.map(|_| ())
    }

    /// Returns the gaps as of now. What this process knows is enough while it proves that there was no other.
    async fn gaps(&self, now: DateTime<Utc>) -> Result<Vec<Gap>, Error> {
        let mut known = self.pulse.lock().await;
        let proves = |pulse: &&Pulse| pulse.proves(now, self.settings.gap_limit);
        if let Some(pulse) = known.as_ref().filter(proves) {
            return Ok(pulse.gaps.clone());
        }
        if let Some(pulse) = self.table.pulse().await?.as_ref().filter(proves) {
            return Ok(known.insert(pulse.clone()).gaps.clone());
        }
        self.renewed(&mut known, now).await
    }

    /// Renews the pulse from what is known of it, or else from the table, and returns its gaps.
    async fn renewed(&self, known: &mut Option<Pulse>, now: DateTime<Utc>) -> Result<Vec<Gap>, Error> {
        for _ in 0..ROUNDS {
            let old = match known.take() {
                Some(pulse) => Some(pulse),
                None => self.table.pulse().await?,
            };
            let limit = self.settings.gap_limit;
            let new = old.as_ref().map_or_else(|| Pulse::beginning(now), |old| old.renewed(now, limit));
            let is_renewed = old.as_ref().is_some_and(|old| old.at >= new.at);
            if !is_renewed && self.table.save_pulse(old.as_ref(), &new).await? == Commit::Conflict {
                continue;
            }
            if let Some(gap) = new.gaps.last().filter(|gap| !is_renewed && gap.to == now) {
                metrics::counter!("medic_gaps_total").increment(1);
                tracing::warn!(%gap, "Medic could not hear: what was silent meanwhile gets a fresh interval");
            }
            return Ok(known.insert(new).gaps.clone());
        }
        Err(Error::contended("the pulse"))
    }

    /// Decides what should happen to a service; before an alert opens because it is late, with the gaps as of now.
    pub(super) async fn decide_on_service(&self, service: &Service, now: DateTime<Utc>) -> Result<Decision, Error> {
        Ok(match service.judge(&[], now) {
            Decision::Act(Transition::Open(Opening::Overdue(_))) => service.judge(&self.gaps(now).await?, now),
            decision @ (Decision::Rest { .. } | Decision::Act(_)) => decision,
        })
    }

    /// Decides what should happen to a run; before an alert opens because it has not ended, with the gaps as of now.
    pub(super) async fn decide_on_run(
        &self,
        run: &Run,
        context: &RunContext,
        now: DateTime<Utc>,
    ) -> Result<RunDecision, Error> {
        Ok(match run.judge(context, &[], now) {
            RunDecision::Act(RunTransition::GoStale(_)) => run.judge(context, &self.gaps(now).await?, now),
            decision @ (RunDecision::Rest { .. } | RunDecision::Act(_)) => decision,
        })
    }
}
