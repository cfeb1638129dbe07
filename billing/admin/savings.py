def savings_page(tenant, asked, now):
    return {}
