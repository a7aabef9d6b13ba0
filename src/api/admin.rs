//! Messages of the admin API, `/api/v1/…`: collections, images, sequences, deployments, runs.
