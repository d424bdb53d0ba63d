"""Step 2: what the command would take. Command + Facts -> Plan, pure."""
