//! What the benchmarks share: the cluster, the operator as a process, and its CPU time.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub mod audit;
pub mod cluster;
pub mod cpu;
pub mod operator;
