def savings_page(tenant, asked, now): return {}
def overview(period): return {}
