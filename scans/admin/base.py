"""What every list of the admin has in common. Nothing can be added or edited by hand: a service writes every row.

At least one of `actions_on_top` and `actions_on_bottom` stays on in every list: without both the stock change list
has an inline style, which the Content-Security-Policy refuses.

A list costs the same for a hundred rows and for a million: it counts no further than MAX_COUNTED, sorts by an index
only, offers values without looking which there are, and has no facets, which count every filter's rows.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.text import capfirst

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:
    ModelAdmin = admin.ModelAdmin
    AnyPaginator = Paginator

MAX_COUNTED = 10_000


class CappedPaginator(AnyPaginator):
    """Pages of the first MAX_COUNTED rows. Who looks for one further behind narrows the list down."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, up to MAX_COUNTED."""
        rows: Any = self.object_list
        found: int = rows.order_by()[:MAX_COUNTED].count()
        return found


class CappedChangeList(ChangeList):
    """Is called what it lists, and says when it shows only the first rows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = str(capfirst(self.opts.verbose_name_plural))
        if self.result_count >= MAX_COUNTED:
            self.title += f" (the first {MAX_COUNTED:,}: search or filter for others)"


class ValueFilter(admin.SimpleListFilter):
    """Rows by the value of a column whose values are known; the stock filter would read the whole table to list them."""

    values: ClassVar[tuple[str, ...]]

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        """The values."""
        return [(value, value) for value in self.values]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrowed down, if one is chosen."""
        return queryset if self.value() is None else self.narrowed(queryset, self.value())

    def narrowed(self, queryset: QuerySet[Any], value: str | None) -> QuerySet[Any]:
        """The rows that are meant: of the column that the parameter is called after, unless a subclass knows better."""
        return queryset.filter(**{str(self.parameter_name): value})


class ReadOnlyAdmin(ModelAdmin):
    """Everything can be looked at, nothing changed."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The one that says when it is capped."""
        return CappedChangeList

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never, unless a subclass purges."""
        return False


class PurgeableAdmin(ReadOnlyAdmin):
    """May also be deleted, with the stock confirmation, by staff who hold the permission."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """As Django decides."""
        return ModelAdmin.has_delete_permission(self, request, obj)
