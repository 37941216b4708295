"""Who is where: data only. Providers, names and versions are invented; ASNs and names are those for documentation."""

from __future__ import annotations

from dataclasses import dataclass

PUBLIC = "127.66.0.0/16"  # counts as public
SITE = "127.66.252"
WEB, FILES, DATA, CLOSED, DARK, KEPT = (f"{SITE}.{number}" for number in (10, 20, 30, 40, 50, 60))
PORTS = (1433, 2121, 2222, 2375, 3306, 3389, 5432, 5900, 6379, 8080, 8443, 9200)
MANY = f"{SITE}.128/26"  # nobody listens: for the job that is cancelled


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A service that listens; `speaks` names a conversation."""

    address: str
    port: int
    speaks: str
    is_late: bool = False  # not there yet when the first job runs, so that two scans differ


SERVICES = (
    Service(address=WEB, port=8080, speaks="careless_web"),
    Service(address=WEB, port=8443, speaks="tls_web"),
    Service(address=WEB, port=2222, speaks="ssh"),
    Service(address=FILES, port=2121, speaks="ftp"),
    Service(address=FILES, port=2222, speaks="ssh"),
    Service(address=FILES, port=5900, speaks="vnc"),
    Service(address=DATA, port=6379, speaks="redis"),
    Service(address=DATA, port=3306, speaks="mysql"),
    Service(address=DATA, port=5432, speaks="postgres"),
    Service(address=DATA, port=9200, speaks="search", is_late=True),
    Service(address=KEPT, port=8080, speaks="careful_web"),
)
# In scope, but not public: nothing about it goes to a service or to the model.
PRIVATE_SERVICE = Service(address="::1", port=18080, speaks="careful_web")
FILTERED = ((KEPT, 3306), *((DARK, port) for port in PORTS))  # these drop every SYN

SITE_TARGETS = (f"https://{WEB}:8443/", FILES, DATA, CLOSED, DARK, f"http://{KEPT}:8080/")
UNRESOLVED = "shop.invalid"
REFUSED = ("10.0.0.1", "169.254.169.254", "192.0.2.0/30")


@dataclass(frozen=True, kw_only=True, slots=True)
class Provider:
    """What ip-api says of an address."""

    country: str
    code: str
    region: str
    city: str
    carrier: str
    owner: str
    asn: int  # 64496 to 64511 and 65536 to 65551 are for documentation (RFC 5398)
    flag: str = ""  # proxy, mobile or hosting


PROVIDERS = {  # ip-api knows no others
    WEB: Provider(
        country="Netherlands", code="NL", region="North Holland", city="Amsterdam",
        carrier="Example Carrier BV", owner="Example Hosting BV", asn=64500, flag="hosting",
    ),
    FILES: Provider(
        country="France", code="FR", region="Bretagne", city="Rennes",
        carrier="Exemple Mobile SA", owner="Exemple Bureau SARL", asn=64511, flag="mobile",
    ),
    DATA: Provider(
        country="Germany", code="DE", region="Hesse", city="Frankfurt am Main",
        carrier="Beispiel Netz AG", owner="Beispiel Cloud GmbH", asn=65536, flag="hosting",
    ),
    CLOSED: Provider(
        country="Sweden", code="SE", region="Skane", city="Malmo",
        carrier="Exempel Transit AB", owner="Exempel VPN AB", asn=65551, flag="proxy",
    ),
}  # fmt: skip
LOST = DARK  # ip-api's answer about it gets lost, so that nothing at all is known: the level is `unknown`


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """To whom a network is registered."""

    name: str
    owner: str
    country: str
    abuse: str


HOLDERS = {  # the registry knows no others
    f"{SITE}.8/29": Holder(name="EXAMPLE-SHOP", owner="Example Hosting BV", country="NL", abuse="abuse@hosting.invalid"),
    f"{SITE}.16/29": Holder(name="EXEMPLE-NET", owner="Exemple Mobile SA", country="FR", abuse="abuse@mobile.invalid"),
    f"{SITE}.24/29": Holder(name="EXAMPLE-DATA", owner="Example Holding Inc", country="US", abuse="noc@holding.invalid"),
    f"{SITE}.40/29": Holder(name="EXEMPEL-VPN", owner="Exempel VPN AB", country="SE", abuse="abuse@vpn.invalid"),
    MANY: Holder(name="EXAMPLE-IDLE", owner="Example Hosting BV", country="NL", abuse="abuse@hosting.invalid"),
}
