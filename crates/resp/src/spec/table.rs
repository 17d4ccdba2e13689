//! The table of commands, as data: [`spec`](super) generates rows from it.
//!
//! Names, arities, flags and key positions are Redis 7.2's; `delifeq` is Valkey's. A row: identity,
//! name, arity, flags, key positions, group, version, arguments, summary.

/// Passes the table to a macro.
macro_rules! command_table {
    ($to:ident) => {
        $to! {
            /// All commands. Among similar ones the most used comes first.
            COMMANDS 66 {
                Get "get" 2 [READONLY FAST] ONE String
                    "1.0.0" "key" "Gets the value of a key."
                Set "set" -3 [WRITE DENYOOM] ONE String
                    "1.0.0" "key value [NX | XX | IFEQ comparison] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]"
                    "Gives a key a value, on conditions and for a time if asked to."
                SetNx "setnx" 3 [WRITE DENYOOM FAST] ONE String
                    "1.0.0" "key value" "Gives a key a value if it has none."
                SetEx "setex" 4 [WRITE DENYOOM] ONE String
                    "2.0.0" "key seconds value" "Gives a key a value for some seconds."
                PSetEx "psetex" 4 [WRITE DENYOOM] ONE String
                    "2.6.0" "key milliseconds value" "Gives a key a value for some milliseconds."
                GetSet "getset" 3 [WRITE DENYOOM FAST] ONE String
                    "1.0.0" "key value" "Gives a key a value and returns the previous one."
                GetDel "getdel" 2 [WRITE FAST REMOVES] ONE String
                    "6.2.0" "key" "Gets the value of a key and removes it."
                GetEx "getex" -2 [WRITE FAST] ONE String
                    "6.2.0" "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]"
                    "Gets the value of a key and sets or ends its time to live."
                DelIfEq "delifeq" 3 [WRITE FAST REMOVES] ONE String
                    "9.0.0" "key value" "Removes a key if it has this value."
                MGet "mget" -2 [READONLY FAST] ALL String
                    "1.0.0" "key [key ...]" "Gets the values of several keys, each by itself."
                MSet "mset" -3 [WRITE DENYOOM] PAIRS String
                    "1.0.1" "key value [key value ...]" "Gives several keys their values, each by itself."
                StrLen "strlen" 2 [READONLY FAST] ONE String
                    "2.2.0" "key" "Returns the length of a value in bytes."
                Append "append" 3 [WRITE DENYOOM FAST] ONE String
                    "2.0.0" "key value" "Adds to the end of a key's value."
                GetRange "getrange" 4 [READONLY] ONE String
                    "2.4.0" "key start end" "Gets a part of a key's value."
                Incr "incr" 2 [WRITE DENYOOM FAST] ONE String
                    "1.0.0" "key" "Adds one to the integer that a key holds."
                Decr "decr" 2 [WRITE DENYOOM FAST] ONE String
                    "1.0.0" "key" "Takes one from the integer that a key holds."
                IncrBy "incrby" 3 [WRITE DENYOOM FAST] ONE String
                    "1.0.0" "key increment" "Adds to the integer that a key holds."
                DecrBy "decrby" 3 [WRITE DENYOOM FAST] ONE String
                    "1.0.0" "key decrement" "Takes from the integer that a key holds."
                IncrByFloat "incrbyfloat" 3 [WRITE DENYOOM FAST] ONE String
                    "2.6.0" "key increment" "Adds to the decimal number that a key holds."

                Del "del" -2 [WRITE REMOVES] ALL Generic
                    "1.0.0" "key [key ...]" "Removes keys, each by itself."
                Unlink "unlink" -2 [WRITE FAST REMOVES] ALL Generic
                    "4.0.0" "key [key ...]" "Removes keys, each by itself; the same as DEL."
                Exists "exists" -2 [READONLY FAST] ALL Generic
                    "1.0.0" "key [key ...]" "Counts which of the keys there are."
                Touch "touch" -2 [READONLY FAST] ALL Generic
                    "3.2.1" "key [key ...]" "Counts which of the keys there are; the same as EXISTS."
                Type "type" 2 [READONLY FAST] ONE Generic
                    "1.0.0" "key" "Returns the type of a key."
                Expire "expire" -3 [WRITE FAST] ONE Generic
                    "1.0.0" "key seconds [NX | XX | GT | LT]" "Lets a key live for some more seconds."
                PExpire "pexpire" -3 [WRITE FAST] ONE Generic
                    "2.6.0" "key milliseconds [NX | XX | GT | LT]" "Lets a key live for some more milliseconds."
                ExpireAt "expireat" -3 [WRITE FAST] ONE Generic
                    "1.2.0" "key unix-time-seconds [NX | XX | GT | LT]" "Lets a key live until a time in seconds."
                PExpireAt "pexpireat" -3 [WRITE FAST] ONE Generic
                    "2.6.0" "key unix-time-milliseconds [NX | XX | GT | LT]" "Lets a key live until a time in milliseconds."
                Ttl "ttl" 2 [READONLY FAST] ONE Generic
                    "1.0.0" "key" "Returns the time to live of a key in seconds."
                PTtl "pttl" 2 [READONLY FAST] ONE Generic
                    "2.6.0" "key" "Returns the time to live of a key in milliseconds."
                ExpireTime "expiretime" 2 [READONLY FAST] ONE Generic
                    "7.0.0" "key" "Returns when a key expires, in seconds."
                PExpireTime "pexpiretime" 2 [READONLY FAST] ONE Generic
                    "7.0.0" "key" "Returns when a key expires, in milliseconds."
                Persist "persist" 2 [WRITE FAST] ONE Generic
                    "2.2.0" "key" "Lets a key live for ever."
                Scan "scan" -2 [READONLY] NO Generic
                    "2.8.0" "cursor [MATCH pattern] [COUNT count] [TYPE type]" "Lists the keys of the whole cluster, page by page."
                Keys "keys" 2 [READONLY DANGEROUS] NO Generic
                    "1.0.0" "pattern" "Lists the keys of the whole cluster that match a pattern."
                RandomKey "randomkey" 1 [READONLY] NO Generic
                    "1.0.0" "" "Picks some key."
                Wait "wait" 3 [] NO Generic
                    "3.0.0" "numreplicas timeout" "Returns how many copies beyond the first a write has: it waits for none, since a write is only acknowledged once all have it."

                Ping "ping" -1 [FAST STALE] NO Connection
                    "1.0.0" "[message]" "Answers."
                Echo "echo" 2 [FAST STALE] NO Connection
                    "1.0.0" "message" "Answers with what was sent."
                Auth "auth" -2 [FAST STALE NO_AUTH] NO Connection
                    "1.0.0" "[username] password" "Shows the cluster's secret."
                Hello "hello" -1 [FAST STALE NO_AUTH] NO Connection
                    "6.0.0" "[protover [AUTH username password] [SETNAME clientname]]" "Chooses the protocol and identifies the client."
                Select "select" 2 [FAST STALE] NO Connection
                    "1.0.0" "index" "Chooses database 0, the only one."
                Quit "quit" -1 [FAST STALE NO_AUTH] NO Connection
                    "1.0.0" "" "Closes the connection."
                Reset "reset" 1 [FAST STALE NO_AUTH] NO Connection
                    "6.2.0" "" "Makes the connection as it was when it began."
                Client "client" -2 [STALE] NO Connection
                    "2.4.0" "" "Commands about connections."
                ReadOnly "readonly" 1 [FAST STALE] NO Cluster
                    "3.0.0" "" "Does nothing: any node answers any read."
                ReadWrite "readwrite" 1 [FAST STALE] NO Cluster
                    "3.0.0" "" "Does nothing: any node answers any read."
                Cluster "cluster" -2 [STALE] NO Cluster
                    "3.0.0" "" "Commands about the cluster."

                Command "command" -1 [STALE] NO Server
                    "2.8.13" "" "Describes all commands."
                Config "config" -2 [STALE] NO Server
                    "2.0.0" "" "Commands about the configuration."
                Info "info" -1 [STALE DANGEROUS] NO Server
                    "1.0.0" "[section [section ...]]" "Describes the node."
                DbSize "dbsize" 1 [READONLY FAST] NO Server
                    "1.0.0" "" "Counts the keys of the whole cluster."
                FlushAll "flushall" -1 [WRITE DANGEROUS] NO Server
                    "1.0.0" "[ASYNC | SYNC]" "Removes all keys of the whole cluster, where the operator allows it."
                FlushDb "flushdb" -1 [WRITE DANGEROUS] NO Server
                    "1.0.0" "[ASYNC | SYNC]" "Removes all keys of the whole cluster, where the operator allows it."
                LastSave "lastsave" 1 [FAST STALE ADMIN DANGEROUS] NO Server
                    "1.0.0" "" "Returns when the node last saved its records: its last checkpoint, or its start."
                Module "module" -2 [STALE] NO Server
                    "4.0.0" "" "Commands about modules, of which there are none."
                Time "time" 1 [FAST STALE] NO Server
                    "2.6.0" "" "Returns the node's time."
                Role "role" 1 [FAST STALE ADMIN] NO Server
                    "2.8.12" "" "Returns the role of the node: a master, like every node here."
                LolWut "lolwut" -1 [READONLY FAST STALE] NO Server
                    "5.0.0" "[VERSION version]" "Draws the ring."

                Eval "eval" -3 [WRITE MOVABLE] THIRD Scripting
                    "2.6.0" "script numkeys key [key ...] [arg ...]" "Releases or prolongs a lock by one of the usual scripts; others are refused."
                EvalSha "evalsha" -3 [WRITE MOVABLE] THIRD Scripting
                    "2.6.0" "sha1 numkeys key [key ...] [arg ...]" "Releases or prolongs a lock by one of redis-py's scripts; others are refused."

                Multi "multi" 1 [FAST STALE] NO Transactions
                    "1.2.0" "" "Begins a transaction."
                Exec "exec" 1 [STALE] NO Transactions
                    "1.2.0" "" "Ends a transaction: nothing of it is done, and the reply is an error."
                Discard "discard" 1 [FAST STALE] NO Transactions
                    "2.0.0" "" "Forgets a transaction."
                Watch "watch" -2 [FAST STALE] ALL Transactions
                    "2.2.0" "key [key ...]" "Makes a transaction depend on keys."
                Unwatch "unwatch" 1 [FAST STALE] NO Transactions
                    "2.2.0" "" "Makes the next transaction depend on no keys."
            }

            /// CLIENT …
            CLIENT 14 {
                ClientId "client|id" 2 [STALE] NO Connection
                    "5.0.0" "" "Returns the connection's number."
                ClientGetName "client|getname" 2 [STALE] NO Connection
                    "2.6.9" "" "Returns the connection's name."
                ClientSetName "client|setname" 3 [STALE] NO Connection
                    "2.6.9" "connection-name" "Names the connection."
                ClientSetInfo "client|setinfo" 4 [STALE] NO Connection
                    "7.2.0" "<LIB-NAME libname | LIB-VER libver>" "Sets the name or version of the client library."
                ClientInfo "client|info" 2 [STALE] NO Connection
                    "6.2.0" "" "Describes the connection."
                ClientList "client|list" -2 [STALE ADMIN] NO Connection
                    "2.4.0" "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]" "Describes the node's connections."
                ClientNoEvict "client|no-evict" 3 [STALE ADMIN] NO Connection
                    "7.0.0" "<ON | OFF>" "Does nothing: no connection is closed to make room."
                ClientNoTouch "client|no-touch" 3 [STALE] NO Connection
                    "7.2.0" "<ON | OFF>" "Does nothing: no key is evicted by its age."
                ClientReply "client|reply" 3 [STALE] NO Connection
                    "3.2.0" "<ON | OFF | SKIP>" "Lets answers come, none at all, or not the next one."
                ClientKill "client|kill" -3 [STALE ADMIN DANGEROUS] NO Connection
                    "2.4.0" "<ip:port | [ID client-id] [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME yes/no]>" "Closes connections to this node."
                ClientPause "client|pause" -3 [STALE ADMIN DANGEROUS] NO Connection
                    "3.0.0" "timeout [WRITE | ALL]" "Lets the requests of this node's connections wait for some milliseconds."
                ClientUnpause "client|unpause" 2 [STALE ADMIN DANGEROUS] NO Connection
                    "6.2.0" "" "Lets them go on."
                ClientUnblock "client|unblock" -3 [STALE ADMIN DANGEROUS] NO Connection
                    "5.0.0" "client-id [TIMEOUT | ERROR]" "Answers 0: no connection is ever blocked."
                ClientHelp "client|help" 2 [STALE] NO Connection
                    "5.0.0" "" "Describes these commands."
            }

            /// CLUSTER …
            CLUSTER 8 {
                ClusterSlots "cluster|slots" 2 [STALE] NO Cluster
                    "3.0.0" "" "Returns which nodes have which slots."
                ClusterShards "cluster|shards" 2 [STALE] NO Cluster
                    "7.0.0" "" "Returns which slots each node is the primary of."
                ClusterNodes "cluster|nodes" 2 [STALE] NO Cluster
                    "3.0.0" "" "Describes the nodes, one a line."
                ClusterInfo "cluster|info" 2 [STALE] NO Cluster
                    "3.0.0" "" "Describes the cluster."
                ClusterMyId "cluster|myid" 2 [STALE] NO Cluster
                    "3.0.0" "" "Returns the node's id."
                ClusterKeySlot "cluster|keyslot" 3 [STALE] NO Cluster
                    "3.0.0" "key" "Returns the slot of a key."
                ClusterCountKeysInSlot "cluster|countkeysinslot" 3 [STALE] NO Cluster
                    "3.0.0" "slot" "Counts the keys of a slot that this node has."
                ClusterHelp "cluster|help" 2 [STALE] NO Cluster
                    "5.0.0" "" "Describes these commands."
            }

            /// COMMAND …
            COMMAND 6 {
                CommandCount "command|count" 2 [STALE] NO Server
                    "2.8.13" "" "Counts the commands."
                CommandDocs "command|docs" -2 [STALE] NO Server
                    "7.0.0" "[command-name [command-name ...]]" "Describes commands for people."
                CommandInfo "command|info" -2 [STALE] NO Server
                    "2.8.13" "[command-name [command-name ...]]" "Describes commands for programs."
                CommandGetKeys "command|getkeys" -4 [STALE] NO Server
                    "2.8.13" "command [arg ...]" "Returns which arguments of a request are keys."
                CommandList "command|list" -2 [STALE] NO Server
                    "7.0.0" "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]" "Lists the names of commands."
                CommandHelp "command|help" 2 [STALE] NO Server
                    "5.0.0" "" "Describes these commands."
            }

            /// CONFIG …
            CONFIG 3 {
                ConfigGet "config|get" -3 [STALE ADMIN] NO Server
                    "2.0.0" "parameter [parameter ...]" "Returns the configuration."
                ConfigResetStat "config|resetstat" 2 [STALE ADMIN DANGEROUS] NO Server
                    "2.0.0" "" "Lets what INFO counts begin at 0."
                ConfigHelp "config|help" 2 [STALE] NO Server
                    "5.0.0" "" "Describes these commands."
            }

            /// MODULE …
            MODULE 2 {
                ModuleList "module|list" 2 [STALE ADMIN] NO Server
                    "4.0.0" "" "Lists modules: there are none."
                ModuleHelp "module|help" 2 [STALE] NO Server
                    "5.0.0" "" "Describes these commands."
            }
        }
    };
}
