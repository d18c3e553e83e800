//! Operations that die at any of their calls to the store: what follows is as if they had been slower.

mod backup;
mod upkeep;
