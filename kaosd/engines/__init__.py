"""What builds environments and hosts notebooks: one module per engine behind the contract in base."""
