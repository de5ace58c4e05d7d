"""A unit's own broker: its certificates, who may do what, and the configuration that Mosquitto starts with.

Desired state is a record; every verb changes the record and then makes the folder, and a broker that runs, agree with
it. So a run that was cut short is completed by the next one, and one that finds all in order changes nothing.
"""

from appliance.provision.authority import ADMIN, Csr, read_csr
from appliance.provision.broker import Provisioned, enrol, provision, read_provisioned, revoke
from appliance.provision.configuration import MAX_CONNECTIONS, BrokerSettings

__all__ = [
    "ADMIN",
    "MAX_CONNECTIONS",
    "BrokerSettings",
    "Csr",
    "Provisioned",
    "enrol",
    "provision",
    "read_csr",
    "read_provisioned",
    "revoke",
]
