//! What runs where: pins, rollouts and assignments, folded from the journal. Pure functions: no I/O, no clock.
