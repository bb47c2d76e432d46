//! `table`: definitions, what they dispatch in which order, and how they end. `graphs`: generated ones against a
//! reference, under every order of completions and with the machine rebuilt at any point. `cost`: that an event costs
//! the same in a run of any size.

mod cost;
mod graphs;
mod stage;
mod table;
