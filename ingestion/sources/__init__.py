"""Documents that come by themselves: folders, stores, sites and archives."""
