-- The Northwind tables as the CSV files have them: keys as text and as numbers, names in mixed case.
CREATE TABLE categories ("Id" integer PRIMARY KEY, "CategoryName" text NOT NULL, "Description" text);
CREATE TABLE customers (
    "Id" text PRIMARY KEY, "CompanyName" text NOT NULL, "ContactName" text, "ContactTitle" text, "Address" text,
    "City" text, "Region" text, "PostalCode" text, "Country" text, "Phone" text, "Fax" text);
CREATE TABLE shippers ("Id" integer PRIMARY KEY, "CompanyName" text NOT NULL, "Phone" text);
CREATE TABLE suppliers (
    "Id" integer PRIMARY KEY, "CompanyName" text NOT NULL, "ContactName" text, "ContactTitle" text, "Address" text,
    "City" text, "Region" text, "PostalCode" text, "Country" text, "Phone" text, "Fax" text, "HomePage" text);
CREATE TABLE products (
    "Id" integer PRIMARY KEY, "ProductName" text NOT NULL, "SupplierId" integer REFERENCES suppliers,
    "CategoryId" integer REFERENCES categories, "QuantityPerUnit" text, "UnitPrice" numeric(10, 2),
    "UnitsInStock" integer, "UnitsOnOrder" integer, "ReorderLevel" integer, "Discontinued" integer);
CREATE TABLE orders (
    "Id" integer PRIMARY KEY, "CustomerId" text, "EmployeeId" integer, "OrderDate" date, "RequiredDate" date,
    "ShippedDate" date, "ShipVia" integer, "Freight" numeric(10, 2), "ShipName" text, "ShipAddress" text,
    "ShipCity" text, "ShipRegion" text, "ShipPostalCode" text, "ShipCountry" text,
    "ShipperId" integer REFERENCES shippers);
CREATE TABLE order_details (
    "Id" text PRIMARY KEY, "OrderId" integer REFERENCES orders, "ProductId" integer REFERENCES products,
    "UnitPrice" numeric(10, 2), "Quantity" integer, "Discount" numeric(4, 2));
\copy categories FROM 'categories.csv' CSV HEADER
\copy customers FROM 'customers.csv' CSV HEADER
\copy shippers FROM 'shippers.csv' CSV HEADER
\copy suppliers FROM 'suppliers.csv' CSV HEADER
\copy products FROM 'products.csv' CSV HEADER
\copy orders FROM 'orders.csv' CSV HEADER
\copy order_details FROM 'order_details.csv' CSV HEADER
