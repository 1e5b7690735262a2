//! What the engine promises, shown with guests that behave and guests that do not.

mod guests;
mod hostile;
mod imports;
mod policies;
