//! HTTP around the control plane.
