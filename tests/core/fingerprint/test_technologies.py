"""What a page is made with: a line for each entry of the file, what is no sign, and files that cannot be meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.fingerprint.http_reply import read_head
from scans.core.fingerprint.technologies import MAX_TECHNOLOGIES, TechnologyError, known, load, technologies

# Name, version, a header or none, and the page.
SAMPLES = [
    ("WordPress", "6.4.2", "", '<meta name="generator" content="WordPress 6.4.2" />'),
    ("WordPress", None, "", '<link href="https://x.invalid/wp-content/themes/a/style.css">'),
    ("WooCommerce", "8.5.1", "", "<meta content='WooCommerce 8.5.1' name='generator'>"),
    ("Drupal", "10", "X-Generator: Drupal 10 (https://www.drupal.org)", ""),
    ("Joomla", None, "", '<meta name="generator" content="Joomla! - Open Source Content Management" />'),
    ("TYPO3", None, "", '<meta name="generator" content="TYPO3 CMS">'),
    ("MediaWiki", "1.39.3", "", '<meta name="generator" content="MediaWiki 1.39.3">'),
    ("Ghost", "5.70", "", '<meta name="generator" content="Ghost 5.70">'),
    ("Hugo", "0.121.1", "", '<meta name=generator content="Hugo 0.121.1">'),
    ("Jekyll", "4.3.2", "", '<meta name="generator" content="Jekyll v4.3.2">'),
    ("Discourse", "3.2.0", "", '<meta name="generator" content="Discourse 3.2.0.beta1 - https://x.invalid">'),
    ("PrestaShop", None, "Set-Cookie: PrestaShop-8a8c=x; path=/", ""),
    ("Magento", None, "", '<script type="text/x-magento-init">'),
    ("Shopify", None, "", '<script src="//cdn.shopify.com/s/a.js">'),
    ("PHP", "8.2.7", "X-Powered-By: PHP/8.2.7", ""),
    ("PHP", None, "Set-Cookie: PHPSESSID=x", ""),
    ("Laravel", None, "Set-Cookie: laravel_session=x", ""),
    ("ASP.NET", "4.0.30319", "X-AspNet-Version: 4.0.30319", ""),
    ("ASP.NET Core", None, "Set-Cookie: .AspNetCore.Antiforgery.x=y", ""),
    ("Java Servlet", "3.1", "X-Powered-By: Servlet/3.1 JSP/2.3", ""),
    ("Django", None, "", '<input type="hidden" name="csrfmiddlewaretoken" value="x">'),
    ("Ruby on Rails", None, "", '<meta name="csrf-param" content="authenticity_token" />'),
    ("Phusion Passenger", "6.0.18", "X-Powered-By: Phusion Passenger 6.0.18", ""),
    ("Express", None, "X-Powered-By: Express", ""),
    ("Next.js", None, "", '<script src="/_next/static/chunks/main.js">'),
    ("Nuxt", None, "", '<script id="__NUXT_DATA__" type="application/json">'),
    ("Angular", "17.0.8", "", '<app-root ng-version="17.0.8">'),
    ("React", None, "", '<div data-reactroot="">'),
    ("jQuery", "3.7.1", "", '<script src="/js/jquery-3.7.1.min.js">'),
    ("Grafana", None, "", "window.grafanaBootData = {}"),
    ("GitLab", None, "Set-Cookie: _gitlab_session=x", ""),
    ("Jenkins", "2.426.2", "X-Jenkins: 2.426.2", ""),
    ("Kibana", None, "kbn-name: node", ""),
    ("Nextcloud", None, "Set-Cookie: __Host-x=1\r\nSet-Cookie: nc_sameSiteCookielax=true", ""),
    ("phpMyAdmin", None, "Set-Cookie: phpMyAdmin_https=x", ""),
    ("Varnish", None, "X-Varnish: 32770", ""),
    ("Envoy", None, "X-Envoy-Upstream-Service-Time: 3", ""),
    ("Cloudflare", None, "CF-RAY: 8a-FRA", ""),
    ("Amazon CloudFront", None, "X-Amz-Cf-Id: x==", ""),
]


def seen(header: str, page: str) -> dict[str, str | None]:
    head = read_head(f"HTTP/1.1 200 OK\r\n{header}\r\n\r\n".encode())
    assert head is not None
    return {each.name: each.version for each in technologies(head, page)}


@pytest.mark.parametrize(("name", "version", "header", "page"), SAMPLES)
def test_it_is_known_by_its_signs(name, version, header, page):
    assert seen(header, page)[name] == version


def test_every_entry_has_a_sample():
    assert {name for name, *_ in SAMPLES} == {signs.name for signs in known()}


def test_a_page_without_signs_is_made_with_nothing_known():
    page = "<title>WordPress, Drupal and PHP compared</title><meta name=description content='WordPress 6'><p>jquery</p>"
    assert seen("X-Powered-By: ThePHP\r\nServer: Express", page) == {}


def test_the_sign_that_has_a_version_is_the_one_that_is_told():
    page = '<link href="/wp-content/a.css"><meta name="generator" content="WordPress 6.4.2">'
    head = read_head(b"HTTP/1.1 200 OK\r\n\r\n")
    assert head is not None
    (told,) = technologies(head, page)
    assert (told.version, told.sign) == ("6.4.2", "meta generator")


@given(st.text(max_size=300), st.binary(max_size=200))
def test_whatever_a_page_says_what_comes_of_it_is_ours(text, header):
    page = "".join(f'<meta name="generator" content="{sign}{text}">' for sign in ("WordPress ", "x")) + f'ng-version="{text}'
    head = read_head(b"HTTP/1.1 200 OK\r\nX-Powered-By: PHP/" + header + b"\r\nX-Jenkins: " + header)
    assert head is not None
    found = technologies(head, page)
    assert len(found) <= MAX_TECHNOLOGIES
    for each in found:
        assert each.version is None or set(each.version) <= set("0123456789.")
        assert each.sign.isprintable()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: b", "a list of entries"),
        ("- generator: [abc]", "a name and its signs"),
        ("- {name: A}", "A: it has no sign"),
        ("- {name: A, html: [ab]}", "A: html: a list of texts of three letters"),
        ("- {name: A, html: abc}", "A: html"),
        ("- {name: A, headers: {X-A: b}}", "A: headers: names in lower case"),
        ("- {name: A, headers: {x-a: 1}}", "A: headers"),
        ("- {name: A, title: [abc]}", "A: unknown: title"),
        ("- {name: A, html: [abc]}\n- {name: A, html: [abd]}", "A: listed more than once"),
    ],
)
def test_a_file_that_cannot_be_meant_says_what_is_wrong(text, why):
    with pytest.raises(TechnologyError, match=why):
        load(text)
