//! How long held requests would wait for reviewers, and how many would expire.
//!
//! The model is the queue M/M/c+G: holds arrive at random at a steady rate (Poisson), a pool of `c` reviewers takes them
//! in turn, a decision takes an exponentially distributed time, and a hold that no reviewer took up within its
//! `decide_within` expires. The formulas are exact for it: Baccelli and Hebuterne (1981), in the form of Zeltyn and
//! Mandelbaum, "Call centers with impatient customers" (2005), section 3. With one `decide_within` for all it is M/M/c+D.

use serde::Serialize;

/// What the model assumes, for the report.
pub(crate) const ASSUMPTIONS: &str = "\
model: M/M/c+D, exact (Baccelli and Hebuterne 1981): holds arrive at random at a steady rate, every reviewer may decide \
every hold and takes the oldest first, handling times are exponential around the mean, and a hold expires if nobody took \
it up within decide_within";

/// What the queue is made of.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    /// Decisions that are asked for, per second.
    pub(crate) arrivals: f64,
    /// The mean time that a decision takes, in seconds.
    pub(crate) handling: f64,
    pub(crate) reviewers: u32,
    /// `decide_within` in seconds, each with its share; shares add up to one.
    pub(crate) patience: Vec<(f64, f64)>,
}

/// What comes of it in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Forecast {
    /// Work that arrives for each reviewer, as a share of the time that there is; above one not all can be done.
    pub(crate) load: f64,
    /// The share that no reviewer takes up at once.
    pub(crate) waits: f64,
    /// The mean wait of all, those that expire included, in seconds.
    pub(crate) mean_wait: f64,
    /// The share that expires.
    pub(crate) expires: f64,
}

impl Queue {
    pub(crate) fn forecast(&self) -> Forecast {
        let work = self.arrivals * self.handling;
        let load = work / f64::from(self.reviewers);
        if self.arrivals <= 0.0 {
            return Forecast { load: 0.0, waits: 0.0, mean_wait: 0.0, expires: 0.0 };
        }
        let served = f64::from(self.reviewers) / self.handling;
        // Both integrals are scaled by the peak of their integrand, which overflows under a heavy load.
        let peak = self.peak(served);
        let Integrals { all, weighted } = self.integrals(served, peak);
        let idle = idle_states(work, self.reviewers) * (-peak).exp();
        let total = idle + self.arrivals * all;
        let expires = ((-peak).exp() + (self.arrivals - served) * all) / total;
        Forecast {
            load,
            waits: (self.arrivals * all / total).clamp(0.0, 1.0),
            mean_wait: (self.arrivals * weighted / total).max(0.0),
            expires: expires.clamp(0.0, 1.0),
        }
    }

    /// `decide_within` rising, each with the share of holds that are still there before it.
    fn steps(&self) -> Vec<(f64, f64)> {
        let mut patience = self.patience.clone();
        patience.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut left = 1.0;
        let step = |(end, share): (f64, f64)| {
            let before = left;
            left = (left - share).max(0.0);
            (end, before)
        };
        patience.into_iter().map(step).collect()
    }

    /// The greatest value of the exponent `arrivals * H(x) - served * x`, where H is the integral of the share that is left.
    fn peak(&self, served: f64) -> f64 {
        let (mut start, mut exponent, mut peak) = (0.0, 0.0, 0.0_f64);
        for (end, left) in self.steps() {
            exponent += (self.arrivals * left - served) * (end - start);
            peak = peak.max(exponent);
            start = end;
        }
        peak
    }

    /// The integrals over x of `e` and of `H(x) e`, where `e` is the exponential of the exponent less `peak`.
    fn integrals(&self, served: f64, peak: f64) -> Integrals {
        let (mut start, mut exponent, mut waited) = (0.0, -peak, 0.0);
        let mut sum = Integrals { all: 0.0, weighted: 0.0 };
        for (end, left) in self.steps() {
            let (slope, length) = (self.arrivals * left - served, end - start);
            let (area, moment) = exponential(exponent, slope, length);
            sum.all += area;
            sum.weighted += waited * area + left * moment;
            exponent += slope * length;
            waited += left * length;
            start = end;
        }
        // Behind the last deadline nobody is left.
        let rest = exponent.exp() / served;
        Integrals { all: sum.all + rest, weighted: sum.weighted + waited * rest }
    }
}

struct Integrals {
    all: f64,
    weighted: f64,
}

/// The integrals of `exp(start + slope * x)` and of `x` times that, from 0 to `length`.
fn exponential(start: f64, slope: f64, length: f64) -> (f64, f64) {
    let exponent = slope * length;
    if exponent.abs() < 1e-6 {
        let scale = start.exp();
        return (scale * length * (1.0 + exponent / 2.0), scale * length * length * (0.5 + exponent / 3.0));
    }
    let end = (start + exponent).exp();
    // One of them is exact where the exponent is small, the other where it is so large that its power overflows.
    let area = if exponent < 1.0 { start.exp() * exponent.exp_m1() / slope } else { (end - start.exp()) / slope };
    (area, (length * end - area) / slope)
}

/// How likely the states with an idle reviewer are, against the one in which all are busy and nobody waits.
fn idle_states(work: f64, reviewers: u32) -> f64 {
    let (mut term, mut sum) = (1.0, 0.0);
    for busy in (0..reviewers).rev() {
        sum += term;
        term *= f64::from(busy) / work;
    }
    sum
}

#[cfg(test)]
mod tests;
