"""People: the stock lists, without the widgets that a keyboard or a screen reader cannot use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.contrib.auth import admin as stock
from django.contrib.auth.models import Group, User

if TYPE_CHECKING:
    StockUserAdmin = stock.UserAdmin[User]
else:
    StockUserAdmin = stock.UserAdmin

for model in (User, Group):
    admin.site.unregister(model)


@admin.register(User)
class UserAdmin(StockUserAdmin):
    """When somebody came is a fact and no field."""

    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ()
    list_filter = ("is_staff", "is_superuser", "is_active")


@admin.register(Group)
class GroupAdmin(stock.GroupAdmin):
    """Permissions as one plain list."""

    filter_horizontal = ()
