//! What the boot services are told of the settings, and where they listen.
//!
//! Must not know: what is answered to whom.

use std::path::PathBuf;

use super::config::Config;
use super::netboot;
use crate::api::admin::Listener;
use crate::netboot::tftp::Limits;

/// Settings of the boot services.
pub fn settings(config: &Config, boot: PathBuf, https_port: u16) -> netboot::Settings {
    let defaults = netboot::Settings::new(boot);
    netboot::Settings {
        ports: netboot::Ports {
            dhcp: config.ports.dhcp,
            proxy: config.ports.proxy_dhcp,
            tftp: config.ports.tftp,
            http: config.ports.http,
        },
        interfaces: config.network.interfaces.clone(),
        advertise: config.network.address,
        https_port,
        bsdp: config.bsdp.policy.clone(),
        without_deployment: config.boot.without_deployment,
        kernel_arguments: config.boot.kernel_arguments.clone(),
        pxe: config.pxe.policy.clone(),
        offer_delay: config.pxe.offer_delay,
        tftp: Limits {
            block_size: config.tftp.max_block_size,
            window: config.tftp.max_window,
            ..Limits::default()
        },
        tftp_caps: config.tftp.caps.clone(),
        tftp_transfers: config.tftp.max_transfers as usize,
        nbi: config.nbi.rules(),
        ..defaults
    }
}

/// Where they listen.
pub fn listeners(sockets: &netboot::Sockets) -> Vec<Listener> {
    [
        ("http", sockets.http_address()),
        ("dhcp", sockets.dhcp_address()),
        ("proxy-dhcp", sockets.proxy_address()),
        ("tftp", sockets.tftp_address()),
    ]
    .into_iter()
    .filter_map(|(service, address)| {
        Some(Listener { service: service.to_owned(), address: address.ok()?.to_string() })
    })
    .collect()
}
